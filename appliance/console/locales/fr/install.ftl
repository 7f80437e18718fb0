# L’installation depuis la clé d’où le boîtier a démarré.

keys-live = i installer  t essayer  k garder cette clé  L English  q quitter
keys-live-disks = ↑↓ disque  Entrée le prendre  Échap étape d’avant  F2 English
keys-live-confirm = Entrée l’effacer et installer  Échap étape d’avant  F2 English
keys-live-copying = F2 English
keys-live-done = Entrée redémarrer le boîtier  F2 English
keys-live-keep = o la garder et redémarrer  Échap étape d’avant  F2 English
live-banner = ! ESSAI : rien n’est gardé ; « :install » met Rempart sur un disque
live-title = DÉMARRÉ D’UNE CLÉ ({ $stick }) : RIEN N’Y EST ÉCRIT
live-about =
    
      i  Installer Rempart sur un disque de ce boîtier. Tout ce qui est sur le
         disque est perdu.
    
      t  L’essayer sans installer : tout marche, et rien n’est gardé au
         redémarrage, ni document, ni mot de passe, ni journal.
    
      k  Garder Rempart sur cette clé : elle devient le disque de ce boîtier.
         Pour un boîtier dont le disque est un module USB ; une clé ordinaire
         s’use.
live-disks = SUR QUEL DISQUE ?
live-about-disks = Tout ce qui est sur le disque sera perdu. La clé elle-même n’est pas montrée.
live-confirm = TOUT CE QUI EST SUR { $disk } SERA PERDU
live-about-confirm = { $model }, { $size }. Il contient : { $holds }
live-type = Tapez « { $answer } » pour continuer.
live-field = Disque
live-wrong = Ce n’est pas cela : rien n’est écrit.
live-copying = INSTALLATION SUR { $disk }
live-about-copying = N’éteignez pas le boîtier : un disque à moitié écrit ne démarre rien, et il faudrait recommencer l’installation.
live-looking = Examen des disques…
live-percent = { $line } ({ $percent } %)
live-done = REMPART EST SUR { $disk }
live-about-done = Tout a été relu et comparé. Tapez Entrée, et retirez la clé quand l’écran s’éteint ; le boîtier démarre alors de son disque et demande sa mise en service.
live-keep = GARDER REMPART SUR CETTE CLÉ ?
live-about-keep = Le boîtier redémarre et crée l’autre emplacement et son état chiffré dans le reste de la clé ({ $stick }). Elle appartient dès lors à ce boîtier.
live-leaving = ● Le boîtier redémarre…
install-live = Ce boîtier a démarré d’une clé ({ $stick }) : rien n’est gardé.
install-not-live = Ce boîtier n’a pas démarré d’une clé qui ne garde rien : rien ne peut être installé d’ici.
install-no-disks = Il n’y a pas d’autre disque que la clé. Y a-t-il un pilote pour lui ?
install-head-disk = DISQUE
install-head-size = TAILLE
install-head-model = MODÈLE
install-head-serial = SÉRIE
install-head-holds = CONTENU
install-head-why-not = OBSTACLE
install-empty = rien de connu
install-in-use = utilisé : { $what }
install-read-only = protégé en écriture
install-small = trop petit : il faut 1,7 Go
install-sure = Tout ce qui est sur { $disk } ({ $answer } ; contenu : { $holds }) serait perdu : « --yes » le fait.
install-writes = Écrit : { $done } sur { $all }
install-compares = Relu et comparé : { $done } sur { $all }
install-done = Rempart est sur { $disk }, relu et comparé. « rempart install --restart » redémarre le boîtier : retirez alors la clé.
install-failed = { $disk } : { $why }
