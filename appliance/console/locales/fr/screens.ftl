# Les écrans. Les lignes de touches ont 80 colonnes.

no-terminal = les écrans demandent un terminal. Utilisez les commandes : « rempart status », « rempart --help ».
too-small = Les écrans demandent 60×16 ; ce terminal a { $width }×{ $height }. Les commandes marchent partout : « rempart status ».
header = { $node }  { $glyph } { $role }  révision { $revision }
header-unknown = Rempart
tab-dashboard = 1 Accueil
tab-matrix = 2 Flux
tab-connections = 3 Connexions
tab-log = 4 Journal
tab-configuration = 5 Configuration
banner-pending = ! À CONFIRMER : la révision { $revision } sera annulée dans { $left }   y la garder   r revenir
banner-stale = ✗ rempartd ne répond plus depuis { $since } : ce qui est affiché est ANCIEN
banner-absent = ✗ rempartd ne répond pas depuis { $since } : rien n’est encore connu
banner-denied = ✗ Vous n’avez pas le droit d’interroger rempartd : sudo, ou faites-vous autoriser
yes = oui
no = non

keys-dashboard = 1-7 écrans  ↑↓ défiler  e expliquer  : verbe  ? aide  L English  q quitter
keys-matrix = ←↑↓→ bouger  Entrée flux  t pivoter  e expliquer  ? aide  L English  q quitter
keys-connections = / filtrer  Entrée détails  k couper  f figer  s trier  1-7  ? aide  q quitter
keys-log = / filtrer  Entrée détails  f figer  e expliquer  1-7 écrans  ? aide  q quitter
keys-configuration = Entrée écart  E éditer  d diff  p plan  c valider  b reprendre  v voir  ?  q
keys-filter = Entrée garder  Échap ôter  port:443 zone:lan flow:web addr:10.0.0.0/8 !proto:udp
keys-text = ↑↓ Pg↑ Pg↓ défiler  Échap retour
keys-flows = ↑↓ bouger  Entrée détails  Échap retour
keys-details = Échap retour
keys-connection = k couper cette connexion  Échap retour
keys-kill = y (ou o) couper  n laisser  ↑↓ Pg↑ Pg↓ défiler
keys-revert = y (ou o) revenir maintenant  n laisser  ↑↓ Pg↑ Pg↓ défiler
keys-commit = Entrée valider  Tab autre champ  ↑↓ Pg↑ Pg↓ défiler  Échap laisser
keys-explain = Entrée demander  Tab ↑↓ autre champ  Pg↑ Pg↓ défiler  Échap laisser

live-running = ● direct
live-frozen = ■ FIGÉ
filter-none = / filtrer
filter-set = Filtre : { $text }
filter-editing = Filtre : { $text }_
filter-bad = Filtre : { $text }  ✗ « { $word } » ne veut rien dire
connections-shown = { $shown } sur { $all }
connections-none = Aucune connexion, ou aucune que le filtre laisse passer.
head-bytes = OCTETS
head-sorted = { $title }↓
log-shown = { $shown ->
    [one] { $shown } entrée
   *[other] { $shown } entrées
}
log-shown-lost = { $shown ->
    [one] { $shown } entrée
   *[other] { $shown } entrées
}, { $lost } perdues
log-time = HEURE
log-none = Aucune entrée, ou aucune que le filtre laisse passer.

dashboard-connecting = Question à rempartd…
dashboard-up = En marche depuis { $uptime }, Rempart { $version }
dashboard-candidate = ! Un candidat attend : 5, puis d montre ce qui diffère, c le valide
dashboard-zones = Zones : { $names }
dashboard-zone-external = { $name } (dehors)
dashboard-connections = Connexions : { $count } sur { $max } ({ $share } %)
dashboard-minute = 1 MINUTE
dashboard-faults = { $count ->
    [one] { $count } DÉFAUT
   *[other] { $count } DÉFAUTS
}

matrix-no-flows = Aucun flux dans cette case : tout y est refusé.
matrix-empty = Aucun flux : tout est refusé entre les zones.
matrix-corner-services = SERVICE
matrix-key = · rien  ▒ en partie  █ tout  2 nombre de flux  ! un flux éteint ou signalé

configuration-candidate = ! Le candidat diffère du document en vigueur : d montre comment, c le valide
configuration-no-candidate = Le candidat est le document en vigueur : « rempart edit » ou « rempart load »
configuration-none = Rien n’a encore été validé.
revision-current = ● en vigueur
revision-pending = ! à l’essai

detail-flow = Flux
detail-number = Numéro
detail-number-line = { $number }, ligne { $line } du document
detail-action = Action
detail-state = État
detail-from = De
detail-from-zones = Des zones
detail-to = Vers
detail-to-zones = Vers les zones
detail-services = Services
detail-publish = Publié
detail-log = Journalisé
detail-why = Pourquoi
detail-owner = Responsable
detail-expires = Dernier jour
detail-schedule = Horaire
detail-hits = A décidé
detail-hits-bytes = { $hits } fois, { $bytes }
detail-odd = ! À voir
detail-odd-inactive = Le calendrier l’a éteint.
detail-odd-hint = { $message } : { $hint }
detail-connection = Connexion
detail-protocol = Protocole
detail-source = Source
detail-destination = Destination
detail-icmp-type = Type ICMP
detail-translated-destination = Va en fait vers
detail-translated-source = Sort comme
detail-zones = Zones
detail-age = Âge
detail-timeout = Oubliée dans
detail-sent = Émis
detail-received = Reçu
detail-traffic = { $bytes } en { $packets ->
    [one] { $packets } paquet
   *[other] { $packets } paquets
}
detail-entry = Entrée
detail-time = Date
detail-decided = Décidé par
detail-in-interface = Entré par
detail-out-interface = Sorti par
detail-length = Longueur
detail-no-flow = aucun flux
detail-flow-number = { $label } (numéro { $number })

text-waiting = Question à rempartd…
text-sending = rempartd y travaille…
text-more = … encore { $count } lignes (Pg↓)
title-help = TOUCHES
title-flows = { $count ->
    [one] { $count } FLUX DE CETTE CASE, LE PREMIER QUI CORRESPOND DÉCIDE
   *[other] { $count } FLUX DE CETTE CASE, LE PREMIER QUI CORRESPOND DÉCIDE
}
title-flow = FLUX
title-connection = CONNEXION
title-entry = ENTRÉE DU JOURNAL
title-kill = { $count ->
    [one] COUPER { $count } CONNEXION
   *[other] COUPER { $count } CONNEXIONS
}
title-commit = VALIDER LE CANDIDAT
title-rollback = REPRENDRE LA RÉVISION { $revision }
title-revert = REVENIR DE LA VALIDATION À L’ESSAI
title-report = VALIDÉ
title-explain = CE QUE DEVIENT UN PAQUET
title-failure = PAS FAIT
title-show = RÉVISION { $revision }
title-candidate = CE QUE LE CANDIDAT CHANGE
title-diff = DE { $from } À { $to }
title-plan = CE QUE LE CANDIDAT FERAIT
kill-question = ! Exactement celles-ci seront coupées : y (ou o) les coupe, n les laisse
revert-question = ! Ce qui suit changera tout de suite dans le document en vigueur : y (ou o) revient, n laisse
commit-comment = Pourquoi
commit-time = Revient sans confirmation après
commit-bad-time = ✗ Délai illisible : 30s, 5m, 1h ; vide, c’est définitif
commit-refused = ✗ Refusé, rien n’a été modifié : voir plus bas
commit-force = ✗ Ceci couperait votre propre session. Ctrl-F valide quand même
commit-nothing = Rien ne changerait.
commit-for-good = ! Sans délai, c’est définitif : Entrée valide
commit-ready = ● Vous avez lu ce qui suit ? Entrée valide
report-trial = ! Retour automatique dans { $left } : y garde sur tout écran, r revient tout de suite.
report-step = - { $step }
explain-from = Depuis la zone
explain-source = Adresse source
explain-destination = Adresse de destination
explain-service = Service
explain-hint = La zone peut être omise. Service : tcp/443, udp/53, icmp/echo-request, proto/47.
explain-near = PRESQUE
explain-near-line = { $label } (ligne { $line }) : { $why }

help-text =
    Partout
      1 à 7, Tab       les écrans, par leur numéro ou à la suite
      :                tout verbe de la ligne de commande ; Tab complète, ↑ les précédents
      e                ce que devient un paquet, rempli selon le curseur
      y, r             garder la validation à l’essai, en revenir
      L, F2            English
      Ctrl-L           redessiner, et demander sa taille à un terminal série
      Échap            retour
      q, Ctrl-C        quitter

    Flux
      flèches, Entrée  une case et ses flux ; un flux et ses détails
      t                zones par zones, ou services par paires de zones
      ·  ▒  █  !       rien, en partie, tout ; un flux à voir

    Connexions, journal
      /                filtre : port:443 zone:lan flow:web addr:192.168.10.0/24
                       proto:tcp action:drop, tout texte, ! devant pour exclure
      f                figer, puis reprendre
      s, n b a t       trier : suivant, récentes, octets, âge, reste
      k, K             couper cette connexion, toutes celles du filtre

    Configuration
      Entrée           ce que cette révision a changé
      E                éditer le candidat ; Ctrl-S vérifie et garde
      d, p             ce que le candidat change, ce qu’il ferait au noyau
      c, b             valider le candidat, reprendre cette révision
      v                le document de cette révision

    Paire
      s                passer le rôle à l’autre nœud ; les connexions établies ne perdent rien
      m                mettre ce nœud hors service, ou le remettre en service
      d                l’écart entre les documents des deux nœuds
      c                choisir entre deux documents qui ont divergé

tab-pair = 6 Paire
keys-pair = s passer le rôle  m maintenance  d écart  c choisir  ↑↓  ? aide  q quitter
keys-choose = m le mien  t l’autre  y (ou o) le faire  n laisser  ↑↓ Pg↑ Pg↓ défiler
keys-move = o le faire  n laisser
pair-asking = Interrogation de rempart-ha…
pair-events = DERNIERS ÉVÉNEMENTS
pair-event = { $time }  { $what } { $about }
event-role-active = devenu actif,
event-role-standby = mis en attente,
event-path-down = chemin perdu :
event-path-up = chemin rétabli :
event-path-state = { $path } ({ $state })
event-peer-lost = autre nœud perdu
event-peer-back = autre nœud de retour
event-peer-restarted = le programme de l’autre nœud a redémarré
event-two-actives = les deux nœuds étaient actifs :
event-stays = celui-ci le reste
event-steps-down = celui-ci se retire
event-handed-over = rôle passé dans l’ordre
event-hand-over-failed = le rôle n’a pas pu être passé :
event-router-active = adresses virtuelles prises sur
event-router-backup = adresses virtuelles quittées sur
event-router-hindered = un routeur virtuel ne peut prendre part sur
event-gateway-silent = passerelle muette sur
event-gateway-back = passerelle de retour sur
event-kernel-refused = le noyau a refusé :
event-no-priority = pas de priorité temps réel :
event-damped = déplacements retenus
failure-not-flushed = toutes les connexions n’étaient pas acquittées
failure-not-ready = l’autre nœud n’était pas prêt
failure-not-taken = l’autre nœud ne l’a pas pris
failure-peer-lost = l’autre nœud s’est tu
failure-peer-unfit = l’autre nœud est devenu inapte
failure-cancelled = annulé
event-stalled = ce nœud s’est figé
title-move = Déplacer le rôle
move-switch = Le rôle passe à l’autre nœud, dans l’ordre : les connexions sont copiées jusqu’à la dernière, l’autre nœud prend les adresses virtuelles, puis celui-ci les quitte. Les connexions établies ne perdent rien.
move-maintenance-on = Ce nœud passe hors service : l’autre prend le rôle, et celui-ci ne le reprend pas, quoi qu’il arrive, avant d’être remis en service.
move-maintenance-off = Ce nœud revient en service : il est en attente, et prend le rôle quand l’autre nœud ne le peut plus.
move-question = Le faire ? o oui, n non
title-nodes = DU DOCUMENT DE CE NŒUD À CELUI DE L’AUTRE
title-choose = CHOISIR UN DOCUMENT POUR LES DEUX NŒUDS
choose-help = Les deux nœuds ont été modifiés sans pouvoir se joindre : aucun des deux documents ne suit l’autre, et chaque nœud garde le sien. Rien n’est fusionné : l’un des deux sera en vigueur sur les deux nœuds. L’autre reste dans l’historique de son nœud. Ce que le choix change est montré avant d’être fait.
choose-question = ! m : le document de ce nœud pour les deux   t : celui de l’autre
choose-sure = ! Exactement ceci changera tout de suite : y (ou o) le fait, n laisse

keys-lab = d télécharger  s SSH  k tuer le routeur actif  b le rallumer  Échap retour
title-lab = LE LABO
lab-nothing = LABO  X : un téléchargement et une session SSH par le pare-feu ; tuer un routeur
lab-one = LABO (X)  { $stream }
lab-both = LABO (X)  { $download }   { $ssh }
lab-download = télécharge { $rate }, pause max. { $pause }
lab-download-ended = ✗ téléchargement ROMPU
lab-ssh = SSH pause max. { $pause }
lab-ssh-ended = ✗ SSH ROMPU
lab-stream = Le labo y travaille…
lab-kills = Le routeur actif perd son courant…
lab-starts = Le routeur démarre : il copie les connexions avant de pouvoir prendre le relais…
lab-is-off = Le routeur actif est éteint. X, puis b le rallume.
lab-is-on = Le routeur est de nouveau allumé.
lab-failed = ✗ Le labo dit : { $why }
lab-help =
    d   commence ou termine un téléchargement depuis Internet vers cli-lan, à
        travers la traduction d’adresses, sur une seule connexion.
    s   commence ou termine une session SSH de srv-voip vers srv-ebrigade, qui
        parle dix fois par seconde, donc se tait d’elle-même 100 ms.
    k   coupe le courant du routeur actif, quel qu’il soit. Si c’est celui dont
        voici la console, celle de l’autre s’ouvre.
    b   rend le courant au routeur éteint.

    La ligne du haut montre comment vont les deux, et la pause la plus longue.
    Dans un autre terminal : make lab-cut, lab-freeze, lab-kill ; voir le README.

title-prompt = UN VERBE (Tab complète, ↑ le précédent, --help en dit plus)
keys-prompt = Entrée lancer  Tab compléter  ↑↓ précédents  Échap quitter
keys-output = Ctrl-C l’arrêter  ↑↓ Pg↑ Pg↓ défiler  Fin suivre
prompt-quote = Un guillemet n’est pas fermé.
prompt-runs = ● en cours
prompt-done = ● fait
prompt-misread = ! pas lancé
prompt-interrupted = ! arrêté avant la fin
prompt-failed = ✗ code de sortie { $code } : pas fait
prompt-forgotten = … { $count } lignes plus anciennes sont oubliées
prompt-return = Entrée : retour aux écrans
