# Ce qu’affichent les commandes.

head-interface = INTERFACE
head-zone = ZONE
head-device = CARTE
head-state = ÉTAT
head-in = REÇU
head-out = ÉMIS
head-addresses = ADRESSES
head-number = Nº
head-flow = FLUX
head-action = ACTION
head-from = DE
head-to = VERS
head-services = SERVICES
head-hits = PASSAGES
head-line = LIGNE
head-why = POURQUOI
head-id = ID
head-protocol = PROTO
head-source = SOURCE
head-destination = DESTINATION
head-zones = ZONES
head-age = ÂGE
head-timeout = RESTE
head-sent = ÉMIS
head-received = REÇU
head-stage = ÉTAPE
head-what = DÉTAIL
head-near-miss = PRESQUE
head-why-not = POURQUOI PAS
head-revision = RÉV
head-mark = ACTIVE
head-time = DATE
head-author = AUTEUR
head-digest = EMPREINTE
head-comment = COMMENTAIRE
head-service = SERVICE
head-ports = PORTS

status-head = { $node }  { $role }  en marche depuis { $uptime }  Rempart { $version }
status-revision = Révision { $revision } par { $author }, { $time } : { $comment }
status-revision-bare = Révision { $revision } par { $author }, { $time }
status-no-revision = Rien n’a encore été validé : tout est refusé.
status-pending = La révision { $revision } ({ $author }) est à l’essai : reste { $left }. « rempart confirm » la garde, « rempart revert » revient en arrière.
status-candidate = Le candidat diffère du document en vigueur : voyez « rempart diff ».
status-connections = Connexions : { $count } sur { $max }
status-flows = Flux : { $count }, dont éteints : { $inactive }
status-no-faults = ● Aucun défaut
status-fault = ✗ { $code } : { $message }

matrix-corner = DE → VERS
matrix-legend = · rien   ▒ certains hôtes ou services   █ tout   2 flux   ! un flux éteint ou signalé
connections-count = { $count ->
    [one] { $count } connexion
   *[other] { $count } connexions
}
log-head = DATE                ACTION     ZONES         PROTO SOURCE                DESTINATION           FLUX
log-lost = { $count ->
    [one] { $count } entrée perdue avant lecture.
   *[other] { $count } entrées perdues avant lecture.
}
kill-done = { $count ->
    [one] { $count } connexion coupée.
   *[other] { $count } connexions coupées.
}
kill-none = { $count ->
    [one] aucune connexion ne porte ce numéro, ou elle est déjà coupée
   *[other] aucune connexion ne porte un de ces numéros, ou elles sont déjà coupées
}
kill-no-flow = aucune connexion d’un flux « { $flow } »
load-done = Le candidat est chargé : voyez-le avec « rempart diff », mettez-le en vigueur avec « rempart commit ».
check-offline = rempartd ne répond pas : vérifié sans ce que lui seul connaît, comme les baux et les noms résolus.
check-valid = ● Le document est bon.
check-invalid = ✗ Le document ne peut pas être validé.
assertion-line = { $sign } : { $name } (ligne { $line })
assertion-why = {"    "}{ $why }
explain-verdict = { $verdict } : { $summary }
explain-decided = Décidé par { $by }
explain-decided-line = Décidé par { $by }, ligne { $line }
commit-warning = ! ligne { $line }, { $code } : { $message }
commit-done = La révision { $revision } est en vigueur : { $steps ->
    [one] { $steps } étape
   *[other] { $steps } étapes
}, { $cut ->
    [one] { $cut } connexion coupée
   *[other] { $cut } connexions coupées
}, { $ms } ms.
commit-trial = La révision { $revision } est à l’essai : retour en arrière dans { $left } sans « rempart confirm ».
commit-peer-same = Elle est en vigueur aussi sur { $node }.
commit-peer-away = { $node } est injoignable : il recevra la révision à son retour.
commit-peer-behind = { $node } ne l’a pas encore prise et la recevra : voir « rempart ha status ».
confirm-done = La révision { $revision } est gardée.
revert-done = La révision { $revision } est de nouveau en vigueur.
history-current = ●
history-rollback = [reprise de { $of }] { $comment }
diff-empty = Aucune différence.

edit-unchanged = Le candidat est inchangé.
edit-loaded = Le candidat est chargé : voyez-le avec « rempart diff », mettez-le en vigueur avec « rempart commit ».
edit-kept = Votre texte est gardé dans { $file }
edit-again = Modifier encore ? [O/n]
edit-no-editor = l’éditeur s’est mal terminé : { $error }
error-file = { $file } : { $error }

head-path = CHEMIN
head-since = DEPUIS
head-round-trip = ALLER-RETOUR
head-heard = REÇUS
head-lost = PERDUS
head-refused = REFUSÉS
head-vrid = VRID
head-holder = TENUES PAR
ha-own = { $node }  { $role } depuis { $since } ({ $why }), époque { $epoch }
ha-other = { $node }  { $role }, époque { $epoch }
ha-other-lost = { $node }  ✗ plus entendu depuis { $heard }
ha-other-never = { $node }  ✗ jamais entendu
ha-unpaired = ! Les nœuds ne sont pas appairés : rien n’est copié et ils n’entendent que leurs annonces. Voyez « rempart pair ».
ha-maintenance = ! { $node } est hors service : « rempart ha maintenance off » sur ce nœud le remet en service.
ha-ailment = ✗ { $node } : { $what } ({ $about }) depuis { $since }
ha-ailment-undated = ✗ { $node } : { $what } ({ $about })
ha-damped = ! Le rôle s’est déplacé trop souvent : il reste jusqu’à { $until }.
ha-failback = Le nœud préféré reprendra le rôle à { $at }.
ha-configuration = Configuration : { $state }
ha-configuration-both = Configuration : { $state } (ici { $own }, là-bas { $other })
ha-diverged = ✗ Chaque nœud garde le sien : « rempart ha diff » montre l’écart, « rempart ha resolve mine » ou « theirs » choisit pour les deux.
ha-obstacle = ✗ Elle ne peut être prise ici : { $why }
ha-journal = { $entries ->
    [one] Connexions : { $state }, { $entries } entrée, { $backlog } en attente, { $lag } de retard
   *[other] Connexions : { $state }, { $entries } entrées, { $backlog } en attente, { $lag } de retard
}
ha-journal-troubles = débordements : { $overruns }, réparations : { $repairs }, renvois : { $resent }, refus : { $refused }
switch-done = L’autre nœud est actif.
maintenance-on = Ce nœud est hors service.
maintenance-off = Ce nœud est de nouveau en service.
pair-offer = Tapez ceci sur { $peer } sous { $left } :  rempart pair { $code }
pair-waiting = En attente de l’autre nœud ; Ctrl-C met fin à l’offre.
pair-done = Appairé avec { $peer }. Empreinte de sa clé : { $fingerprint }
pair-failed = l’appairage a échoué : { $reason }
pair-expired = personne n’a tapé le code à temps : recommencez avec « rempart pair »
pair-cancelled = l’offre est terminée
unpair-done = L’autre nœud est oublié. Dissociez-le aussi là-bas, ou remplacez-le et appairez de nouveau.
resolve-changes = { $loser } prend le document de { $winner }. Voici ce qui change sur { $loser } ; ce qu’il a reste dans son historique :
resolve-ask = Le faire ? [o/N]
resolve-yes = personne à qui demander ici : « rempart ha resolve » le fait avec --yes
resolve-left = laissé tel quel
resolve-done = Les deux nœuds ont de nouveau le même document : ici c’est la révision { $revision }.
