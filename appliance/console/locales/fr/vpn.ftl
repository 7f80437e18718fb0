# L’accès distant : ses commandes, leur aide, ce qu’elles affichent.

help-vpn = L’accès distant : personnes, appareils, sessions
help-vpn-status = L’état de l’accès distant, et ce qui demande attention
help-vpn-list = Qui est connecté : depuis quand, d’où, combien d’octets
help-vpn-disconnect = Terminer des sessions ; les clients ne reviennent que s’ils en ont le droit
help-vpn-disconnect-user = Toutes celles de cette personne
help-vpn-disconnect-session = Une seule, par son numéro
help-vpn-disconnect-all = Toutes
help-vpn-export = Faire un profil pour un nouvel appareil : un fichier .ovpn avec tout ce qu’il faut à un client ; trop long pour un QR code (qui contient 2 953 octets au plus)
help-vpn-export-user = À qui est l’appareil
help-vpn-export-label = Comment l’appareil s’appelle
help-vpn-export-device = Un appareil qui doit recevoir une nouvelle clé ; l’ancienne est révoquée
help-vpn-export-out = Où : un fichier, un dossier (une clé USB), ou - pour la sortie standard ; ici si absent
help-vpn-devices = Tous les appareils et jusqu’à quand ils peuvent entrer
help-vpn-revoke = Un appareil ne peut plus entrer ; ses sessions finissent aussitôt
help-vpn-revoke-device = L’identifiant de l’appareil
help-vpn-revoke-reason = Pourquoi : lost (perdu, par défaut), moved (muté), replaced (remplacé), retired (réformé), withdrawn (droit retiré)
help-vpn-rename = Appeler un appareil autrement
help-vpn-rename-device = L’identifiant de l’appareil
help-vpn-rename-label = Comment il s’appelle désormais
help-vpn-import = Un appareil à partir d’un certificat fait par une autre autorité (PEM, DER, PKCS #12)
help-vpn-import-path = Le fichier
help-vpn-import-user = À qui est l’appareil ; le nom dans le certificat si absent
help-vpn-import-label = Comment l’appareil s’appelle
help-vpn-import-locked = Le fichier est protégé par un mot de passe, qui est demandé
help-vpn-user = Les personnes
help-vpn-user-list = Tout le monde
help-vpn-user-add = Une nouvelle personne
help-vpn-user-set = D’autres données pour une personne ; ce qui est absent reste
help-vpn-user-remove = Une personne et tous ses appareils partent ; ses sessions finissent aussitôt
help-vpn-user-add-user = L’identifiant de connexion
help-vpn-user-set-user = L’identifiant de connexion
help-vpn-user-remove-user = L’identifiant de connexion
help-vpn-user-add-name = Son nom usuel
help-vpn-user-set-name = Son nom usuel ; vide, il est retiré
help-vpn-user-add-source = Qui dit si le mot de passe est juste
help-vpn-user-set-source = Qui dit si le mot de passe est juste
help-vpn-user-add-groups = Tous les groupes, parmi ceux du document
help-vpn-user-set-groups = Tous les groupes, parmi ceux du document
help-vpn-user-add-disabled = Exclue jusqu’à nouvel ordre
help-vpn-user-set-disabled = Exclue, ou admise de nouveau
help-vpn-user-add-expires = Le premier jour où elle n’entre plus
help-vpn-user-set-expires = Le premier jour où elle n’entre plus ; vide, il est retiré
help-vpn-user-add-ipv4 = Une adresse fixe dans le tunnel
help-vpn-user-set-ipv4 = Une adresse fixe dans le tunnel ; vide, elle est retirée
help-vpn-user-add-ipv6 = Une adresse fixe dans le tunnel
help-vpn-user-set-ipv6 = Une adresse fixe dans le tunnel ; vide, elle est retirée
help-vpn-user-add-networks = Les réseaux derrière le client de cette personne
help-vpn-user-set-networks = Tous les réseaux derrière le client de cette personne
help-vpn-password = Poser le mot de passe local d’une personne ; demandé, ou lu sur l’entrée standard
help-vpn-password-user = La personne
help-vpn-password-remove = Retirer le mot de passe
help-vpn-code = L’application d’authentification d’une personne
help-vpn-code-enrol = Un nouveau secret, en QR code ; il compte une fois confirmé
help-vpn-code-enrol-user = La personne
help-vpn-code-confirm = Le premier code de la nouvelle application
help-vpn-code-confirm-user = La personne
help-vpn-code-confirm-code = Les six chiffres que l’application montre
help-vpn-code-remove = Plus d’application
help-vpn-code-remove-user = La personne
help-vpn-authority = L’autorité qui certifie les appareils et le serveur
help-vpn-authority-show = Toutes les autorités, celle qui émet en premier
help-vpn-authority-show-pem = Afficher leurs certificats
help-vpn-authority-make = Une nouvelle autorité
help-vpn-authority-make-name = Son nom ; tiré de celui de l’organisation si absent
help-vpn-authority-renew = Un nouveau certificat pour l’autorité qui émet, avec la même clé, et un pour le serveur ; les profils exportés avant continuent de marcher
help-vpn-authority-import = Reprendre une autorité (PEM, DER, PKCS #12) : avec sa clé elle émet, sans elle répond de ses clients
help-vpn-authority-import-path = Le fichier
help-vpn-authority-import-locked = Le fichier est protégé par un mot de passe, qui est demandé
help-vpn-authority-crl = Reprendre la liste de révocation d’une autorité dont la clé est ailleurs
help-vpn-authority-crl-fingerprint = L’empreinte de l’autorité
help-vpn-authority-crl-path = Le fichier
help-vpn-authority-remove = Une autorité part ; les clients qu’elle a certifiés restent dehors
help-vpn-authority-remove-fingerprint = L’empreinte de l’autorité
help-vpn-test = Essayer quelque chose
help-vpn-test-login = Une connexion qui ne laisse entrer personne, pas à pas ; le mot de passe est demandé
help-vpn-test-login-user = Qui
help-vpn-test-login-device = Comme si le certificat de cet appareil était présenté
help-vpn-wireguard = WireGuard : ChaCha20, hors d’une politique AES-256
help-vpn-wireguard-status = Son état et ses pairs : où ils sont, quand on les a entendus
help-vpn-wireguard-key = La clé publique de la passerelle ; la paire de clés est faite s’il n’y en a pas
help-vpn-wireguard-key-anew = Faire une autre paire : chaque client a besoin de la nouvelle clé publique
help-vpn-wireguard-client = Faire une clé et une configuration pour un client ; dit ce que le document doit contenir
help-vpn-wireguard-client-peer = Le pair, tel que le document l’appelle ou l’appellera
help-vpn-wireguard-client-address = Ses adresses dans le tunnel ; celles du document ou les premières libres si absent
help-vpn-wireguard-client-routes = Ce qu’il envoie dans le tunnel ; tout si absent
help-vpn-wireguard-client-dns = Ses résolveurs
help-vpn-wireguard-client-endpoint = Où il trouve la passerelle : un nom ou une adresse, avec ou sans port
help-vpn-wireguard-client-preshared = Avec une clé partagée, que le document nomme comme secret
help-vpn-wireguard-client-out = Où : un fichier, un dossier (une clé USB), ou - pour la sortie standard ; ici si absent
help-vpn-wireguard-client-qr = Un QR code sur cet écran au lieu d’un fichier
help-vpn-test-login-code = Avec ce code ; il reste valable

error-refused-detail = Pas fait : { $text } ({ $detail })
refusal-vpn-standby = ce nœud est en veille. Les personnes et les clés se gèrent sur le nœud actif.
refusal-wireguard-off = le document en vigueur n’active pas WireGuard. Validez-en d’abord un avec « enabled = true » dans [wireguard].
refusal-no-wireguard-key = la passerelle n’a pas encore de clé WireGuard. Faites-la : « rempart vpn wireguard key ».
refusal-vpn-off = le document en vigueur ne demande pas de VPN. Validez-en d’abord un avec [vpn].
refusal-no-authority = aucune autorité ne peut certifier un appareil. Faites-en une : « rempart vpn authority make », ou reprenez-en une avec sa clé : « rempart vpn authority import FICHIER ».
refusal-taken = c’est déjà pris.
refusal-full = il n’y a plus de place.
refusal-bad-field = une des données ne peut pas être.
refusal-weak-password = le mot de passe n’est pas assez bon.
refusal-not-local = le mot de passe de cette personne est tenu par un autre serveur ; changez-le là-bas.
refusal-wrong-code = le code est faux ou a déjà servi. Vérifiez l’heure du téléphone et du boîtier, et prenez le suivant.
refusal-revoked = il est révoqué, ce qui ne se reprend pas. Exportez un profil pour un nouvel appareil.
refusal-not-imported = le fichier ne peut pas être repris.
vpn-standby = les personnes et les clés se gèrent sur le nœud actif, qui est { $node }. Tapez la commande là-bas.

head-user = IDENTIFIANT
head-label = APPAREIL
head-group = GROUPE
head-address = ADRESSE
head-client = CLIENT
head-full-name = NOM
head-password = MOT DE PASSE
head-code = CODE
head-groups = GROUPES
head-demands = PRÉSENTE
head-devices = APPAREILS
head-expires = JUSQU’AU
head-device-id = ID
head-until = VALABLE JUSQU’AU
head-created = FAIT

user-good = admise
user-disabled = exclue
user-expired = expirée
user-no-group = sans groupe
device-valid = valable
device-expiring = finit bientôt
device-expired = fini
device-revoked = révoqué
password-directory = annuaire
password-radius = RADIUS
code-confirmed = oui
code-enrolled = à confirmer
demand-certificate = certificat
demand-password = mot de passe
demand-code = code

vpn-done = Fait.
vpn-disconnected = { $count ->
    [one] { $count } session terminée.
   *[other] { $count } sessions terminées.
}
vpn-nobody = Personne n’est connecté.
vpn-not-configured = { $node } : le document ne demande pas de VPN.
vpn-serves = ● { $node } sert le VPN : { $sessions ->
    [one] { $sessions } session.
   *[other] { $sessions } sessions.
}
vpn-waits = { $node } attend ; { $other } sert le VPN.
vpn-waits-alone = ! { $node } ne sert pas encore le VPN.
vpn-listens = À l’écoute sur { $addresses }.
vpn-in-kernel = Le noyau porte { $count } de ces sessions.
vpn-from-kernel = { $from }, noyau
vpn-people = Personnes : { $users }, appareils : { $devices }.
vpn-authority = Autorité : { $name }, jusqu’au { $until }.
vpn-logins = Connexions depuis le démarrage : { $accepted } acceptées, { $renewed } prolongées, { $refused } refusées (dont { $slowed } sans examen après de faux essais).
vpn-warning = ! { $what }
vpn-warning-about = ! { $what } : { $about }
vpn-warning-until = ! { $what } : { $about }, { $until }
vpn-warning-no-authority = il n’y a pas d’autorité, personne ne peut se connecter ; « rempart vpn authority make »
vpn-warning-no-server-certificate = le serveur n’a pas de certificat
vpn-warning-authority-ends = le certificat de l’autorité se termine ; « rempart vpn authority renew »
vpn-warning-list-ends = la liste de révocation se termine
vpn-warning-server-ends = le certificat du serveur se termine
vpn-warning-device-ends = le certificat d’un appareil se termine
vpn-warning-directory-unusable = l’annuaire ne peut pas être interrogé
vpn-warning-radius-unusable = RADIUS ne peut pas être interrogé
vpn-warning-not-kept = une modification n’a pas pu être écrite sur le disque
vpn-warning-group-unusable = personne n’entre par ce groupe
vpn-warning-no-offload = le noyau ne porte aucune session, le programme les porte toutes
vpn-no-authority = Il n’y a pas encore d’autorité. Faites-en une : rempart vpn authority make
authority-issues = { $name }, émet, jusqu’au { $until } ; certificats : { $issued }, dont { $revoked } révoqués
authority-vouches = { $name }, répond de ses clients, jusqu’au { $until }
authority-list = Liste de révocation : numéro { $number }, jusqu’au { $until }
authority-no-list = Pas de liste de révocation
authority-renewed = Les profils exportés jusqu’ici marchent jusqu’au { $until } ; exportez-les de nouveau avant.
authority-fingerprint = SHA-256 { $fingerprint }
vpn-enrolled = À montrer à { $user }, ou secret à taper : { $secret }
    Puis, avec le code que l’application montre : rempart vpn code confirm { $user } CODE
vpn-imported = Repris : { $what }
vpn-advice = Conseil : { $advice }
vpn-exported = { $file } : pour { $user }, { $label } (appareil { $device }), valable jusqu’au { $until }.
    Qui a ce fichier a la clé de l’appareil. Elle a été faite pour lui et n’est nulle part ailleurs ; effacez-le une fois sur l’appareil.
vpn-export-exists = { $file } existe déjà et reste tel quel.
vpn-export-lost = { $file } n’a pas pu être écrit : { $error }. La clé est perdue ; faites-en une autre : rempart vpn export --device { $device }
vpn-file-too-large = { $file } dépasse 5 Mo.
vpn-ask-password = Mot de passe de { $user } :
vpn-ask-new-password = Nouveau mot de passe de { $user } :
vpn-ask-again = Encore une fois :
vpn-ask-opener = Mot de passe du fichier :
vpn-password-empty = Le mot de passe est vide ; « --remove » le retire.
vpn-password-differs = Les deux mots de passe diffèrent.
vpn-test-accepted = Entrerait, dans { $groups } ({ $ms } ms).
vpn-test-refused = Resterait dehors ({ $ms } ms). La personne lit : { $told }

wireguard-off = { $node } : le document n’active pas WireGuard.
wireguard-carries = ● { $node } porte WireGuard : { $peers ->
    [one] { $peers } pair
   *[other] { $peers } pairs
} sur { $device }.
wireguard-waits = { $node } attend ; il connaît { $peers ->
    [one] { $peers } pair
   *[other] { $peers } pairs
}.
wireguard-outside = ! ChaCha20-Poly1305 : hors de la politique AES-256. Ce qui doit être en AES-256 passe par OpenVPN.
wireguard-backend-userspace = Porté par : rempart-vpn.
wireguard-backend-none = Porté par rien.
wireguard-public-key = Clé publique de la passerelle : { $key }
wireguard-no-key = ! La passerelle n’a pas de clé, personne ne se connecte. Faites-la : rempart vpn wireguard key
wireguard-trouble = ! Pas comme le document le demande : { $why }
wireguard-key-made = Faite ; l’autre nœud la reçoit aussi. Clé publique de la passerelle : { $key }
wireguard-key-there = Clé publique de la passerelle : { $key }
wireguard-entry = Pour le document, afin qu’il puisse entrer :
wireguard-exported = { $file } : pour { $peer }.
    Qui a ce fichier a la clé du client. Elle a été faite pour lui et n’est nulle part ailleurs ; effacez-le une fois sur l’appareil.
wireguard-shown = Pour { $peer }. La clé a été faite pour ce code et n’est nulle part ailleurs.
wireguard-no-code = La configuration est trop longue pour un QR code ; écrivez-la dans un fichier.
wireguard-lost = { $file } n’a pas pu être écrit : { $error }. La clé est perdue ; faites-en une autre.
head-peer = PAIR
head-endpoint = OÙ
head-handshake = ENTENDU
wireguard-on = WireGuard (ChaCha20)

tab-vpn = 7 VPN
keys-vpn = ↑↓ Pg↑ Pg↓ défiler  1-7 écrans  ? aide  L English  q quitter
vpn-asking = Interrogation de rempart-vpn…
vpn-on = { $count ->
    [one] { $count } session
   *[other] { $count } sessions
}
