# The set-up, and what else stands before the screens. Key lines have 80 columns.

gate-asking = Asking rempartd…
gate-no-password = ! The screens have no password: “:password” sets one
title-locked = LOCKED: the administrator’s password, please
keys-gate = F2 français  Ctrl-C quit
keys-locked = Enter log in  Esc clear  F2 français
keys-setup-welcome = n new firewall  j join a pair  s screens without set-up  L français  q quit
keys-setup-fields = Enter next  Tab ↑↓ other field  Esc step back  F2 français
keys-setup-ports = ↑↓ port  w WAN  l LAN  d DMZ  s sync  Space nothing  Enter next  Esc back
keys-setup-cable = ↑↓ port  s sync  Space nothing  Enter next  Esc back
keys-setup-review = y put it into force  ↑↓ PgUp PgDn scroll  Esc step back
keys-setup-joining = Esc to the screens

setup-title = { $name } ({ $step } of { $steps })
setup-welcome = THIS BOX HAS NO DOCUMENT YET: NOTHING IS FORWARDED
setup-password = PASSWORD
setup-names = NAMES
setup-ports = WHICH PORT IS WHICH
setup-cable = THE CABLE TO THE OTHER BOX
setup-addresses = ADDRESSES
setup-review = THE DOCUMENT
setup-code = CODE
setup-joining = JOINED
setup-about-welcome =
    
      n  A new firewall: this box alone, or the first of a pair. A few
         questions make a document that lets the LAN out to the Internet and
         nothing in; it is shown before it is put into force.
    
      j  The second box of a pair: it gets everything from the first one, with
         the code that “:pair” shows there.
    
      s  The screens without any of this, for whoever brings a document.
setup-about-password = The screens will ask for it from now on, here and by SSH. At least 12 characters; nobody can read it, and a lost one means to set the box up anew.
setup-about-name = What the document on the other box calls this one.
setup-about-names = Two boxes stand in for each other. Leave the other name empty where there is only one. Both are in one document, so each has to know both names.
setup-about-ports = Plug a cable in and see which lamp lights. Say what each port is for; one that is for nothing stays unused. The two boxes of a pair are taken to be alike.
setup-about-cable = Plug the cable to the other box in, see which lamp lights, and press s there.
setup-about-addresses = Addresses have their prefix length behind them: 192.168.10.1/24. Towards the Internet it may be dhcp.
setup-about-addresses-pair = Addresses have their prefix length behind them: 192.168.10.1/24. People use the shared ones, which the active box has. Towards the Internet it may be dhcp.
setup-about-review = This is what will be in force on this box. It can be changed at any time.
setup-about-code = On the first box, “:pair” shows a code that holds for five minutes. Capitals or not, with or without the dash.
setup-about-joining = The other box gives its document to this one, which then stands by.
setup-joined = ● paired with { $peer }; waiting for its document…
setup-then-pair = ● in force. For the second box: “:pair” here shows the code to type there
setup-field-password = Password
setup-field-again = Again
setup-field-name = This box
setup-field-other = The other box
setup-field-place = This one is box 1 (preferred) or 2
setup-field-wan = WAN, this box
setup-field-wan-other = WAN, the other box
setup-field-wan-shared = WAN, shared
setup-field-gateway = WAN, router
setup-field-lan = LAN, this box
setup-field-lan-other = LAN, the other box
setup-field-lan-shared = LAN, shared
setup-field-dmz = DMZ, this box
setup-field-dmz-other = DMZ, the other box
setup-field-dmz-shared = DMZ, shared
setup-field-code = Code
setup-role-wan = WAN
setup-role-lan = LAN
setup-role-dmz = DMZ
setup-role-sync = sync
setup-head-port = PORT
setup-head-lamp = LAMP
setup-head-speed = SPEED
setup-head-driver = DRIVER
setup-head-mac = MAC
setup-head-role = FOR
setup-lamp-lit = ● lit
setup-lamp-dark = · dark
setup-moved = { " " }◀ now
setup-no-ports = No network port was found: is there a driver for these cards?
setup-valid = ● valid: y puts it into force
setup-fault-empty = Nothing stands here.
setup-fault-differs = The two are not the same.
setup-fault-name = A name has small letters, digits and -, and begins with a letter or digit.
setup-fault-same-name = Both boxes cannot have the same name.
setup-fault-place = 1 or 2.
setup-fault-address = An address with its prefix length, as 192.168.10.1/24.
setup-fault-gateway = An address without a prefix length, as 203.0.113.1.
setup-fault-host = This is the network itself, or its broadcast address: no box can have it.
setup-fault-network = This is in another network than this box’s own address.
setup-fault-twice = This address stands in another field, too.
setup-fault-overlaps = This network overlaps that of another port.
setup-fault-no-wan = No port is for the WAN yet: press w on it.
setup-fault-no-lan = No port is for the LAN yet: press l on it.
setup-fault-no-sync = No port is for the cable to the other box yet: press s on it.
setup-fault-idle-sync = A port is for the cable to the other box, but there is none: press the space bar on it, or go back and name the other box.
setup-fault-said = { $text }
setup-document = Made by the set-up. Anything here can be changed: load another document, and commit it.
setup-why-out = the LAN uses the Internet; narrow it down to what is needed
setup-why-ping = whoever is in the LAN sees whether the box answers
setup-why-box = names, time and updates for the box itself
password-current = The password of now:
password-new = The new password:
password-done = The administrator has a new password.
ssh-on = ● SSH is on: ssh admin@ADDRESS
ssh-off = SSH is off.
ssh-no-flow = ! No flow of the document lets anybody reach it: to = "firewall", allow = ["ssh"]
ssh-flows = Let in by: { $flows }
ssh-host = Key of this box: { $fingerprint }
ssh-no-key = ! No key may come in yet: “rempart ssh key add”
ssh-added = It may come in: { $fingerprint }
ssh-removed = It may come in no more; sessions that are open stay until “ssh off”.
head-ssh-key = FINGERPRINT
head-ssh-kind = KIND
head-ssh-comment = COMMENT

title-editor = THE CANDIDATE
keys-editor = Ctrl-S check and keep  Ctrl-K cut line  Ctrl-Home Ctrl-End  Esc leave
editor-same = line { $row } of { $lines }
editor-changed = line { $row } of { $lines }, changed
editor-leaving = ! It is changed: Ctrl-S checks and keeps it, Esc drops the change
editor-fault = ✗ line { $line }: { $message }
editor-loaded = ● the candidate is changed: 5, d shows how, c commits it
