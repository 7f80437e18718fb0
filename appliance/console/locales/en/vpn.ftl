# Remote access: its verbs, their help, what they print.

help-vpn = Remote access: people, devices, sessions
help-vpn-status = How remote access is, and what needs looking after
help-vpn-list = Who is on: since when, from where, how many bytes
help-vpn-disconnect = End sessions; clients come back only if they may
help-vpn-disconnect-user = All of this person
help-vpn-disconnect-session = One, by its number
help-vpn-disconnect-all = All
help-vpn-export = Make a profile for a new device: one .ovpn file with all that a client needs; too long for a QR code (which holds 2,953 bytes at most)
help-vpn-export-user = Whose device it is
help-vpn-export-label = What the device is called
help-vpn-export-device = A device that is to have a new key; its old one is revoked
help-vpn-export-out = Where to: a file, a folder (a USB stick), or - for standard output; here if left out
help-vpn-devices = Every device and until when it may come in
help-vpn-revoke = A device may no longer come in; its sessions end at once
help-vpn-revoke-device = The device's identifier
help-vpn-revoke-reason = Why: lost (the habit), moved, replaced, retired, withdrawn
help-vpn-rename = Call a device something else
help-vpn-rename-device = The device's identifier
help-vpn-rename-label = What it is called from now on
help-vpn-import = A device from a certificate that another authority made (PEM, DER, PKCS #12)
help-vpn-import-path = The file
help-vpn-import-user = Whose device it is; the name in the certificate if left out
help-vpn-import-label = What the device is called
help-vpn-import-locked = The file is locked with a password, which is asked for
help-vpn-user = People
help-vpn-user-list = Everybody
help-vpn-user-add = A new person
help-vpn-user-set = Other data for a person; what is left out stays
help-vpn-user-remove = A person and all devices go; sessions end at once
help-vpn-user-add-user = The name to log in with
help-vpn-user-set-user = The name to log in with
help-vpn-user-remove-user = The name to log in with
help-vpn-user-add-name = As people know them
help-vpn-user-set-name = As people know them; empty takes it away
help-vpn-user-add-source = Who says whether the password is right
help-vpn-user-set-source = Who says whether the password is right
help-vpn-user-add-groups = All groups, of those in the document
help-vpn-user-set-groups = All groups, of those in the document
help-vpn-user-add-disabled = Shut out until further notice
help-vpn-user-set-disabled = Shut out, or let in again
help-vpn-user-add-expires = The first day on which they stay out
help-vpn-user-set-expires = The first day on which they stay out; empty takes it away
help-vpn-user-add-ipv4 = A fixed address in the tunnel
help-vpn-user-set-ipv4 = A fixed address in the tunnel; empty takes it away
help-vpn-user-add-ipv6 = A fixed address in the tunnel
help-vpn-user-set-ipv6 = A fixed address in the tunnel; empty takes it away
help-vpn-user-add-networks = Networks behind this person's client
help-vpn-user-set-networks = All networks behind this person's client
help-vpn-password = Set a person's local password; asked for, or read from standard input
help-vpn-password-user = The person
help-vpn-password-remove = Take the password away
help-vpn-code = The authenticator application of a person
help-vpn-code-enrol = A new secret, as a QR code; it counts once confirmed
help-vpn-code-enrol-user = The person
help-vpn-code-confirm = The first code of the new application
help-vpn-code-confirm-user = The person
help-vpn-code-confirm-code = The six digits that the application shows
help-vpn-code-remove = No application any more
help-vpn-code-remove-user = The person
help-vpn-authority = The authority that certifies devices and the server
help-vpn-authority-show = All authorities, the one that issues first
help-vpn-authority-show-pem = Print their certificates
help-vpn-authority-make = A new authority
help-vpn-authority-make-name = Its name; made of the organisation's if left out
help-vpn-authority-renew = A new certificate for the authority that issues, with the same key, and one for the server; profiles exported before go on working
help-vpn-authority-import = Take over an authority (PEM, DER, PKCS #12): with its key it issues, without it vouches for its clients
help-vpn-authority-import-path = The file
help-vpn-authority-import-locked = The file is locked with a password, which is asked for
help-vpn-authority-crl = Take over a list of revoked certificates of an authority whose key is elsewhere
help-vpn-authority-crl-fingerprint = The authority's fingerprint
help-vpn-authority-crl-path = The file
help-vpn-authority-remove = An authority goes; clients that it certified stay out
help-vpn-authority-remove-fingerprint = The authority's fingerprint
help-vpn-test = Try something out
help-vpn-test-login = A login that lets nobody in, step by step; the password is asked for
help-vpn-test-login-user = Who
help-vpn-test-login-device = As if the certificate of this device were shown
help-vpn-test-login-code = With this code; it stays good
help-vpn-wireguard = WireGuard: ChaCha20, outside an AES-256 policy
help-vpn-wireguard-status = How it is, and its peers: where they are, when they were last heard
help-vpn-wireguard-key = The gateway's public key; the pair of keys is made where there is none
help-vpn-wireguard-key-anew = Make another pair: every client needs the new public key
help-vpn-wireguard-client = Make a key and a configuration for a client; says what the document must have
help-vpn-wireguard-client-peer = The peer, as the document calls it or will
help-vpn-wireguard-client-address = Its addresses in the tunnel; those in the document or the first free ones if left out
help-vpn-wireguard-client-routes = What it sends into the tunnel; everything if left out
help-vpn-wireguard-client-dns = Its resolvers
help-vpn-wireguard-client-endpoint = Where it finds the gateway: a name or an address, with or without a port
help-vpn-wireguard-client-preshared = With a preshared key, which the document names as a secret
help-vpn-wireguard-client-out = Where to: a file, a folder (a USB stick), or - for standard output; here if left out
help-vpn-wireguard-client-qr = A QR code on this screen instead of a file

error-refused-detail = Not done: { $text } ({ $detail })
refusal-vpn-standby = this node is on standby. People and keys are managed on the active one.
refusal-wireguard-off = the document in force does not switch WireGuard on. Commit one with “enabled = true” in [wireguard] first.
refusal-no-wireguard-key = the gateway has no key of WireGuard yet. Make it: “rempart vpn wireguard key”.
refusal-vpn-off = the document in force asks for no VPN. Commit one with [vpn] first.
refusal-no-authority = there is no authority that could certify a device. Make one: “rempart vpn authority make”, or take one over with its key: “rempart vpn authority import FILE”.
refusal-taken = it is taken.
refusal-full = there is no room for another one.
refusal-bad-field = something that was given cannot be.
refusal-weak-password = the password is not good enough.
refusal-not-local = this person's password is kept by another server; change it there.
refusal-wrong-code = the code is wrong or was used. Check the clock of the phone and of the box, and take the next one.
refusal-revoked = it is revoked, which cannot be taken back. Export a profile for a new device.
refusal-not-imported = the file cannot be taken over.
vpn-standby = people and keys are managed on the active node, which is { $node }. Type this there.

head-user = USER
head-label = DEVICE
head-group = GROUP
head-address = ADDRESS
head-client = CLIENT
head-full-name = NAME
head-password = PASSWORD
head-code = CODE
head-groups = GROUPS
head-demands = SHOWS
head-devices = DEVICES
head-expires = UNTIL
head-device-id = ID
head-until = VALID UNTIL
head-created = MADE

user-good = may
user-disabled = shut out
user-expired = expired
user-no-group = no group
device-valid = valid
device-expiring = ends soon
device-expired = ended
device-revoked = revoked
password-directory = directory
password-radius = RADIUS
code-confirmed = yes
code-enrolled = to confirm
demand-certificate = certificate
demand-password = password
demand-code = code

vpn-done = Done.
vpn-disconnected = { $count ->
    [one] { $count } session ended.
   *[other] { $count } sessions ended.
}
vpn-nobody = Nobody is connected.
vpn-not-configured = { $node }: the document asks for no VPN.
vpn-serves = ● { $node } serves the VPN: { $sessions ->
    [one] { $sessions } session.
   *[other] { $sessions } sessions.
}
vpn-waits = { $node } waits; { $other } serves the VPN.
vpn-waits-alone = ! { $node } does not serve the VPN yet.
vpn-listens = Listens on { $addresses }.
vpn-in-kernel = The kernel carries { $count } of the sessions.
vpn-from-kernel = { $from }, kernel
vpn-people = People: { $users }, devices: { $devices }.
vpn-authority = Authority: { $name }, until { $until }.
vpn-logins = Logins since the start: { $accepted } accepted, { $renewed } carried on, { $refused } refused ({ $slowed } unseen after wrong tries).
vpn-warning = ! { $what }
vpn-warning-about = ! { $what }: { $about }
vpn-warning-until = ! { $what }: { $about }, { $until }
vpn-warning-no-authority = there is no authority, so nobody can connect; “rempart vpn authority make”
vpn-warning-no-server-certificate = the server has no certificate
vpn-warning-authority-ends = the authority's certificate ends; “rempart vpn authority renew”
vpn-warning-list-ends = the list of revoked certificates ends
vpn-warning-server-ends = the server's certificate ends
vpn-warning-device-ends = a device's certificate ends
vpn-warning-directory-unusable = the directory cannot be asked
vpn-warning-radius-unusable = RADIUS cannot be asked
vpn-warning-not-kept = a change could not be written to the disk
vpn-warning-group-unusable = nobody comes in by this group
vpn-warning-no-offload = the kernel carries no sessions, the program carries them all
vpn-no-authority = There is no authority yet. Make one: rempart vpn authority make
authority-issues = { $name }, issues, until { $until }; certificates: { $issued }, { $revoked } of them revoked
authority-vouches = { $name }, vouches for its clients, until { $until }
authority-list = List of revoked certificates: number { $number }, until { $until }
authority-no-list = No list of revoked certificates
authority-renewed = Profiles that were exported until now work until { $until }; export them anew before that.
authority-fingerprint = SHA-256 { $fingerprint }
vpn-enrolled = Show this to { $user }, or have the secret typed in: { $secret }
    Then, with the code that the application shows: rempart vpn code confirm { $user } CODE
vpn-imported = Taken over: { $what }
vpn-advice = Advice: { $advice }
vpn-exported = { $file }: for { $user }, { $label } (device { $device }), valid until { $until }.
    Whoever has this file has the device's key. It was made for this file and is nowhere else; delete it once it is on the device.
vpn-export-exists = { $file } exists already and stays as it is.
vpn-export-lost = { $file } could not be written: { $error }. The key is lost; make another: rempart vpn export --device { $device }
vpn-file-too-large = { $file } is larger than 5 MB.
vpn-ask-password = Password of { $user }:
vpn-ask-new-password = New password of { $user }:
vpn-ask-again = Once more:
vpn-ask-opener = Password of the file:
vpn-password-empty = The password is empty; “--remove” takes it away.
vpn-password-differs = The two passwords differ.
vpn-test-accepted = Would come in, in { $groups } ({ $ms } ms).
vpn-test-refused = Would stay out ({ $ms } ms). The person reads: { $told }

wireguard-off = { $node }: the document does not switch WireGuard on.
wireguard-carries = ● { $node } carries WireGuard: { $peers ->
    [one] { $peers } peer
   *[other] { $peers } peers
} on { $device }.
wireguard-waits = { $node } waits; it knows { $peers ->
    [one] { $peers } peer
   *[other] { $peers } peers
}.
wireguard-outside = ! ChaCha20-Poly1305: outside the AES-256 policy. What must be AES-256 goes by OpenVPN.
wireguard-backend-userspace = Carried by: rempart-vpn.
wireguard-backend-none = Carried by nothing.
wireguard-public-key = Public key of the gateway: { $key }
wireguard-no-key = ! The gateway has no key, so nobody connects. Make it: rempart vpn wireguard key
wireguard-trouble = ! Not as the document asks: { $why }
wireguard-key-made = Made; the other node gets it too. Public key of the gateway: { $key }
wireguard-key-there = Public key of the gateway: { $key }
wireguard-entry = For the document, so that it may come in:
wireguard-exported = { $file }: for { $peer }.
    Who has this file has the client's key. It was made for it and is nowhere else; delete it once it is on the device.
wireguard-shown = For { $peer }. The key was made for this code and is nowhere else.
wireguard-no-code = The configuration is too long for a QR code; write it to a file.
wireguard-lost = { $file } could not be written: { $error }. The key is lost; make another.
head-peer = PEER
head-endpoint = WHERE
head-handshake = LAST HEARD
wireguard-on = WireGuard (ChaCha20)

tab-vpn = 7 VPN
keys-vpn = ↑↓ PgUp PgDn scroll  1-7 screens  ? help  L français  q quit
vpn-asking = Asking rempart-vpn…
vpn-on = { $count ->
    [one] { $count } session
   *[other] { $count } sessions
}
