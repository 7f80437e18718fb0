# « rempart audit anssi ».

audit-head = Audit ANSSI de { $node }, { $time }, Rempart { $version }
audit-line = { $sign }  { $number }  { $title }
audit-evidence = { $about } : { $seen } ; attendu : { $wanted }
audit-evidence-unseen = { $about } : illisible ; attendu : { $wanted }
audit-counts = Conformes : { $pass }   Non conformes : { $fail }   Dérogations : { $deviation }   Sans objet : { $absent }   Illisibles : { $unseen }
audit-pass = conforme
audit-fail = non conforme
audit-deviation = dérogation
audit-not-applicable = sans objet
audit-unseen = illisible
audit-guide-linux = ANSSI-BP-028 v2.0, configuration d’un système GNU/Linux
audit-guide-firewall = ANSSI-BP-031, configuration d’un pare-feu
audit-guide-ssh = ANSSI NT-007, usage d’OpenSSH
audit-guide-filtering = ANSSI DAT-NT-006, politique de filtrage
audit-guide-interconnection = ANSSI-PA-066 v3, interconnexion avec Internet

# Titres.
audit-linux-r1 = Processeur 64 bits qui refuse d’exécuter des données et connaît AES
audit-linux-r3 = Démarrage sécurisé UEFI actif
audit-linux-r5 = Chargeur de démarrage verrouillé
audit-linux-r6 = Initrd et ligne de commande du noyau couverts par la signature
audit-linux-r7 = IOMMU imposée : une carte n’atteint que la mémoire qu’on lui prête
audit-linux-r8 = Options de démarrage qui protègent la mémoire
audit-linux-r9 = Réglages du noyau
audit-linux-r10 = Aucun module chargé après le démarrage
audit-linux-r11 = Yama : un processus n’en espionne pas un autre
audit-linux-r12 = Réglages IPv4
audit-linux-r13 = Réglages IPv6
audit-linux-r14 = Réglages des systèmes de fichiers
audit-linux-r15 = Noyau compilé pour protéger sa mémoire
audit-linux-r16 = Noyau compilé pour vérifier ses structures
audit-linux-r17 = Noyau compilé avec un allocateur durci
audit-linux-r18 = Noyau compilé pour n’accepter que des modules signés
audit-linux-r19 = Noyau compilé pour s’arrêter à la première anomalie
audit-linux-r20 = Noyau compilé avec ses primitives de sécurité
audit-linux-r21 = Noyau compilé avec les greffons de sécurité du compilateur
audit-linux-r22 = Noyau compilé avec les cookies SYN
audit-linux-r23 = Noyau compilé sans fonctions dont personne n’a besoin
audit-linux-r25 = Noyau compilé avec les protections de x86_64
audit-linux-r28 = Partitions séparées et montées avec des droits réduits
audit-linux-r29 = Accès restreint à la partition de démarrage
audit-linux-r30 = Aucun compte inutile ne s’ouvre par un mot de passe
audit-linux-r32 = Les sessions inactives sont fermées
audit-linux-r33 = Personne n’administre sous le nom de root
audit-linux-r34 = Les comptes de service n’ouvrent pas de session
audit-linux-r35 = Un compte propre à chaque service
audit-linux-r36 = Les fichiers créés ne sont lisibles que de leur propriétaire
audit-linux-r37 = Contrôle d’accès obligatoire actif
audit-linux-r38 = Ni sudo, ni su, ni pkexec (R38 à R44)
audit-linux-r45 = Profils AppArmor imposés aux programmes de Rempart
audit-linux-r50 = Droits des fichiers sensibles
audit-linux-r53 = Aucun fichier sans propriétaire ni groupe connu
audit-linux-r54 = Rien que tout le monde puisse modifier
audit-linux-r55 = Un répertoire temporaire propre à chaque service
audit-linux-r56 = Aucun programme setuid ni setgid (R56, R57)
audit-linux-r58 = Ni compilateur, ni interpréteur, ni gestionnaire de paquets
audit-linux-r59 = Aucun dépôt de paquets : seules des images signées
audit-linux-r62 = Seuls tournent les services connus
audit-linux-r64 = Privilèges réduits au nécessaire
audit-linux-r65 = Chaque service est cloisonné
audit-linux-r66 = Pas d’espaces de noms pour les utilisateurs
audit-linux-r67 = PAM n’interroge aucune autre machine
audit-linux-r68 = Mots de passe conservés sous une forme forte
audit-linux-r69 = Les comptes du système ne viennent pas du réseau
audit-linux-r71 = Le journal est conservé et borné
audit-linux-r73 = Activité du système journalisée par auditd
audit-linux-r74 = Aucun service de messagerie
audit-linux-r76 = Fichiers du système scellés et vérifiés
audit-linux-r79 = Services exposés surveillés par des chiens de garde
audit-linux-r80 = N’écoute que ce que la politique prévoit
audit-firewall-r11 = Administration depuis des réseaux désignés seulement
audit-firewall-r13 = Un réseau réservé à l’administration
audit-firewall-r20 = Les cartes inutilisées sont éteintes
audit-firewall-r23 = Les expéditeurs usurpés sont refusés dans chaque zone intérieure
audit-firewall-r27 = L’heure est synchronisée
audit-firewall-r29 = La politique en production porte un commentaire
audit-firewall-r30 = Aucune règle implicite : le reste est refusé et journalisé
audit-ssh-r17 = SSH : par clé seulement
audit-ssh-r21 = SSH : ni root, ni autre chose que la console
audit-ssh-r27 = SSH : aucun tunnel ni renvoi
audit-filtering-needs = Chaque flux dit à quel besoin il répond
audit-filtering-owners = Chaque flux a un responsable
audit-filtering-any-any = Aucun flux de partout vers partout
audit-filtering-any-service = Aucun flux n’autorise tous les services
audit-filtering-order = Aucun flux n’en recouvre un autre
audit-filtering-expired = Aucun flux échu dans le document
audit-filtering-to-firewall = Les flux vers le pare-feu nomment leurs services
audit-filtering-from-firewall = Les flux du pare-feu nomment leurs services
audit-filtering-log = L’accès d’administration est journalisé
audit-interconnection-r20 = Rien n’est répondu dehors à ce qui est refusé
audit-interconnection-r21 = Les adresses intérieures ne se voient pas dehors

# Pourquoi une dérogation en est une.
audit-why-linux-r3 = Cette machine démarre par un BIOS, qui ne vérifie aucune signature. Qui l’atteint peut y démarrer autre chose : enfermez-la, ou prenez une machine UEFI.
audit-why-linux-r5 = Sur une machine à BIOS, le mot de passe d’un chargeur n’arrête pas qui peut brancher sa propre clé USB.
audit-why-linux-r6 = Sans UEFI, rien ne vérifie le noyau ni sa ligne de commande au démarrage. La racine, elle, reste vérifiée par l’empreinte que porte cette ligne.
audit-why-linux-r8 = L’effacement des pages libérées (init_on_free) remplace leur empoisonnement. slub_debug multiplierait le coût de chaque paquet. L’hyper-threading reste actif, car aucun programme étranger ni machine virtuelle ne tourne ici.
audit-why-linux-r12 = Un pare-feu route. Avec des adresses virtuelles sur deux machines, arp_ignore=2, arp_filter et drop_gratuitous_arp couperaient le service à chaque bascule ; le guide le signale. L’usurpation est refusée zone par zone, par la politique et par rp_filter sur chaque carte.
audit-why-linux-r13 = Les annonces de routeur sont refusées partout (accept_ra=0), ce qui prive ces réglages d’effet. Ils gardent leur valeur pour l’interface à laquelle le document demande une adresse par annonce.
audit-why-linux-r15 = Noyau de Debian. debugfs=off et le verrouillage du noyau (lockdown) ferment debugfs et /proc/kcore ; la page vsyscall est absente d’origine.
audit-why-linux-r16 = Noyau de Debian : ces deux vérifications servent à la mise au point. Celles des listes sont actives, et une structure abîmée arrête le noyau.
audit-why-linux-r17 = Noyau de Debian : slab_nomerge, sur la ligne de commande, a le même effet (voir R8).
audit-why-linux-r18 = Noyau de Debian : module.sig_enforce=1, sur la ligne de commande, impose la signature ; les modules sont signés par Debian avec SHA-256.
audit-why-linux-r19 = Noyau de Debian : kernel.panic_on_oops=1 et panic=, sur la ligne de commande, arrêtent puis redémarrent la machine ; l’autre nœud prend le relais.
audit-why-linux-r21 = Noyau de Debian, compilé sans greffons. Les variables locales sont mises à zéro (INIT_STACK_ALL_ZERO), ce que STRUCTLEAK ne fait qu’en partie.
audit-why-linux-r23 = Noyau de Debian : kexec est fermé par un réglage, l’hibernation par la ligne de commande, les modules sont figés après le démarrage (R10) et binfmt_misc n’est pas chargé.
audit-why-linux-r25 = Noyau de Debian : ia32_emulation=0, sur la ligne de commande, ferme l’exécution 32 bits ; modify_ldt est refusé aux services par leur filtre d’appels système.
audit-why-linux-r28 = La racine est en lecture seule et vérifiée ; tout ce qui s’écrit est sur une seule partition d’état, dont journald réserve et borne sa part. hidepid gênerait systemd-logind : chaque service a son propre /proc réduit (ProtectProc).
audit-why-linux-r35 = rempartd et rempart-ha gardent le compte root, mais avec deux et quatre capacités seulement, dans un bac à sable : leurs fichiers d’état et /proc/sys/net lui appartiennent.
audit-why-linux-r73 = Il n’y a ni session ni commande à tracer : on n’administre que par la console, et chaque validation garde son auteur, sa date et son motif. Les refus d’AppArmor vont au journal.
