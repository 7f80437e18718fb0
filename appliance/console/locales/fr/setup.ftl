# La mise en service, et ce qui se tient devant les écrans. Les lignes de touches ont 80 colonnes.

gate-asking = Interrogation de rempartd…
gate-no-password = ! Les écrans n’ont pas de mot de passe : « :password » en pose un
title-locked = VERROUILLÉ : le mot de passe de l’administrateur, s’il vous plaît
keys-gate = F2 English  Ctrl-C quitter
keys-locked = Entrée se connecter  Échap effacer  F2 English
keys-setup-welcome = n nouveau pare-feu  j joindre une paire  s écrans  L English  q quitter
keys-setup-fields = Entrée suite  Tab ↑↓ autre champ  Échap étape d’avant  F2 English
keys-setup-ports = ↑↓ port  w WAN  l LAN  d DMZ  s sync  Espace rien  Entrée suite  Échap
keys-setup-cable = ↑↓ port  s sync  Espace rien  Entrée suite  Échap étape d’avant
keys-setup-review = o le mettre en vigueur  ↑↓ Pg↑ Pg↓ défiler  Échap étape d’avant
keys-setup-joining = Échap vers les écrans

setup-title = { $name } ({ $step } sur { $steps })
setup-welcome = CE BOÎTIER N’A PAS ENCORE DE DOCUMENT : RIEN N’EST TRANSMIS
setup-password = MOT DE PASSE
setup-names = NOMS
setup-ports = QUEL PORT SERT À QUOI
setup-cable = LE CÂBLE VERS L’AUTRE BOÎTIER
setup-addresses = ADRESSES
setup-review = LE DOCUMENT
setup-code = CODE
setup-joining = APPARIÉ
setup-about-welcome =
    
      n  Un nouveau pare-feu : ce boîtier seul, ou le premier d’une paire.
         Quelques questions font un document qui laisse sortir le LAN vers
         Internet et ne laisse rien entrer ; il est montré avant d’entrer en
         vigueur.
    
      j  Le second boîtier d’une paire : il reçoit tout du premier, avec le code
         que « :pair » y montre.
    
      s  Les écrans sans rien de cela, pour qui apporte son propre document.
setup-about-password = Les écrans le demanderont désormais, ici et par SSH. Au moins 12 caractères ; personne ne peut le lire, et s’il est perdu il faut remettre le boîtier en service.
setup-about-name = Le nom de ce boîtier dans le document de l’autre.
setup-about-names = Deux boîtiers se remplacent l’un l’autre. Laissez l’autre nom vide s’il n’y en a qu’un. Un même document les décrit tous deux : chacun doit connaître les deux noms.
setup-about-ports = Branchez un câble et voyez quel voyant s’allume. Dites à quoi sert chaque port ; les autres restent inutilisés. Les deux boîtiers d’une paire sont supposés pareils.
setup-about-cable = Branchez le câble vers l’autre boîtier, voyez quel voyant s’allume, et tapez-y s.
setup-about-addresses = Une adresse est suivie de la longueur de son préfixe : 192.168.10.1/24. Vers Internet, ce peut être dhcp.
setup-about-addresses-pair = Une adresse est suivie de la longueur de son préfixe : 192.168.10.1/24. Les gens utilisent les adresses communes, qu’a le boîtier actif. Vers Internet, ce peut être dhcp.
setup-about-review = Voici ce qui sera en vigueur sur ce boîtier. On peut le changer à tout moment.
setup-about-code = Sur le premier boîtier, « :pair » montre un code valable cinq minutes. Majuscules ou non, avec ou sans tiret.
setup-about-joining = L’autre boîtier donne son document à celui-ci, qui se tient ensuite en réserve.
setup-joined = ● apparié avec { $peer } ; en attente de son document…
setup-then-pair = ● en vigueur. Pour le second boîtier, « :pair » montre ici le code à y taper
setup-field-password = Mot de passe
setup-field-again = Encore une fois
setup-field-name = Ce boîtier
setup-field-other = L’autre boîtier
setup-field-place = Celui-ci est le 1 (préféré) ou le 2
setup-field-wan = WAN, ce boîtier
setup-field-wan-other = WAN, l’autre
setup-field-wan-shared = WAN, commune
setup-field-gateway = WAN, routeur
setup-field-lan = LAN, ce boîtier
setup-field-lan-other = LAN, l’autre
setup-field-lan-shared = LAN, commune
setup-field-dmz = DMZ, ce boîtier
setup-field-dmz-other = DMZ, l’autre
setup-field-dmz-shared = DMZ, commune
setup-field-code = Code
setup-role-wan = WAN
setup-role-lan = LAN
setup-role-dmz = DMZ
setup-role-sync = sync
setup-head-port = PORT
setup-head-lamp = VOYANT
setup-head-speed = DÉBIT
setup-head-driver = PILOTE
setup-head-mac = MAC
setup-head-role = POUR
setup-lamp-lit = ● allumé
setup-lamp-dark = · éteint
setup-moved = { " " }◀ ici
setup-no-ports = Aucun port réseau n’a été trouvé : y a-t-il un pilote pour ces cartes ?
setup-valid = ● valable : o le met en vigueur
setup-fault-empty = Il n’y a rien ici.
setup-fault-differs = Les deux ne sont pas pareils.
setup-fault-name = Un nom a des minuscules, des chiffres et -, et commence par une lettre ou un chiffre.
setup-fault-same-name = Les deux boîtiers ne peuvent pas avoir le même nom.
setup-fault-place = 1 ou 2.
setup-fault-address = Une adresse avec la longueur de son préfixe, comme 192.168.10.1/24.
setup-fault-gateway = Une adresse sans longueur de préfixe, comme 203.0.113.1.
setup-fault-host = C’est le réseau lui-même, ou son adresse de diffusion : aucun boîtier ne peut l’avoir.
setup-fault-network = C’est dans un autre réseau que l’adresse de ce boîtier.
setup-fault-twice = Cette adresse est aussi dans un autre champ.
setup-fault-overlaps = Ce réseau recouvre celui d’un autre port.
setup-fault-no-wan = Aucun port n’est encore pour le WAN : tapez-y w.
setup-fault-no-lan = Aucun port n’est encore pour le LAN : tapez-y l.
setup-fault-no-sync = Aucun port n’est encore pour le câble vers l’autre boîtier : tapez-y s.
setup-fault-idle-sync = Un port est pour le câble vers l’autre boîtier, mais il n’y en a pas : tapez-y la barre d’espace, ou revenez nommer l’autre boîtier.
setup-fault-said = { $text }
setup-document = Fait par la mise en service. Tout ici peut être changé : chargez un autre document, et validez-le.
setup-why-out = le LAN utilise Internet ; à restreindre au nécessaire
setup-why-ping = qui est dans le LAN voit si le boîtier répond
setup-why-box = les noms, l’heure et les mises à jour du boîtier
password-current = Le mot de passe actuel :
password-new = Le nouveau mot de passe :
password-done = L’administrateur a un nouveau mot de passe.
ssh-on = ● SSH est mis : ssh admin@ADRESSE
ssh-off = SSH est coupé.
ssh-no-flow = ! Aucun flux du document ne laisse personne l’atteindre : to = "firewall", allow = ["ssh"]
ssh-flows = Admis par : { $flows }
ssh-host = Clé de ce boîtier : { $fingerprint }
ssh-no-key = ! Aucune clé ne peut encore entrer : « rempart ssh key add »
ssh-added = Elle peut entrer : { $fingerprint }
ssh-removed = Elle ne peut plus entrer ; les sessions ouvertes restent jusqu’à « ssh off ».
head-ssh-key = EMPREINTE
head-ssh-kind = SORTE
head-ssh-comment = COMMENTAIRE

title-editor = LE CANDIDAT
keys-editor = Ctrl-S vérifier et garder  Ctrl-K couper la ligne  Échap quitter
editor-same = ligne { $row } sur { $lines }
editor-changed = ligne { $row } sur { $lines }, changé
editor-leaving = ! C’est changé : Ctrl-S vérifie et garde, Échap laisse le changement
editor-fault = ✗ ligne { $line } : { $message }
editor-loaded = ● le candidat est changé : 5, d montre comment, c le valide
