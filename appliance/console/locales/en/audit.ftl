# `rempart audit anssi`.

audit-head = ANSSI audit of { $node }, { $time }, Rempart { $version }
audit-line = { $sign }  { $number }  { $title }
audit-evidence = { $about }: { $seen }; wanted: { $wanted }
audit-evidence-unseen = { $about }: unreadable; wanted: { $wanted }
audit-counts = Pass: { $pass }   Fail: { $fail }   Deviations: { $deviation }   Not applicable: { $absent }   Unreadable: { $unseen }
audit-pass = pass
audit-fail = fail
audit-deviation = deviation
audit-not-applicable = not applicable
audit-unseen = unreadable
audit-guide-linux = ANSSI-BP-028 v2.0, configuration of a GNU/Linux system
audit-guide-firewall = ANSSI-BP-031, configuration of a firewall
audit-guide-ssh = ANSSI NT-007, use of OpenSSH
audit-guide-filtering = ANSSI DAT-NT-006, filtering policy
audit-guide-interconnection = ANSSI-PA-066 v3, interconnection with the Internet

# Titles.
audit-linux-r1 = A 64-bit processor that executes no data and knows AES
audit-linux-r3 = UEFI Secure Boot on
audit-linux-r5 = The boot loader locked
audit-linux-r6 = Initrd and kernel command line under the signature
audit-linux-r7 = IOMMU forced: a card reaches only the memory lent to it
audit-linux-r8 = Boot options that protect memory
audit-linux-r9 = Kernel settings
audit-linux-r10 = No module loaded once started
audit-linux-r11 = Yama: no process spies on another
audit-linux-r12 = IPv4 settings
audit-linux-r13 = IPv6 settings
audit-linux-r14 = File system settings
audit-linux-r15 = Kernel built to protect its memory
audit-linux-r16 = Kernel built to check its structures
audit-linux-r17 = Kernel built with a hardened allocator
audit-linux-r18 = Kernel built to accept signed modules only
audit-linux-r19 = Kernel built to stop at the first anomaly
audit-linux-r20 = Kernel built with its security functions
audit-linux-r21 = Kernel built with the compiler’s security plugins
audit-linux-r22 = Kernel built with SYN cookies
audit-linux-r23 = Kernel built without what nobody needs
audit-linux-r25 = Kernel built with the protections of x86_64
audit-linux-r28 = Separate partitions, mounted with few rights
audit-linux-r29 = The boot partition out of reach
audit-linux-r30 = No needless account that a password opens
audit-linux-r32 = Idle sessions are ended
audit-linux-r33 = Nobody administers in the name of root
audit-linux-r34 = Accounts of services open no session
audit-linux-r35 = An account of its own for each service
audit-linux-r36 = New files can be read by their owner only
audit-linux-r37 = Mandatory access control on
audit-linux-r38 = Neither sudo nor su nor pkexec (R38 to R44)
audit-linux-r45 = AppArmor profiles enforced on the programs of Rempart
audit-linux-r50 = Rights of sensitive files
audit-linux-r53 = No file without a known owner and group
audit-linux-r54 = Nothing that anybody may change
audit-linux-r55 = A temporary folder of its own for each service
audit-linux-r56 = No setuid or setgid program (R56, R57)
audit-linux-r58 = No compiler, interpreter or package manager
audit-linux-r59 = No package source: signed images only
audit-linux-r62 = Only known services run
audit-linux-r64 = Privileges no greater than needed
audit-linux-r65 = Each service in a sandbox
audit-linux-r66 = No user namespaces
audit-linux-r67 = PAM asks no other machine
audit-linux-r68 = Passwords kept in a strong form
audit-linux-r69 = Accounts of the system do not come from the network
audit-linux-r71 = The journal is kept, and bounded
audit-linux-r73 = System activity logged by auditd
audit-linux-r74 = No mail service
audit-linux-r76 = System files sealed and verified
audit-linux-r79 = Exposed services watched by watchdogs
audit-linux-r80 = Nothing listens that the policy does not foresee
audit-firewall-r11 = Administration from named networks only
audit-firewall-r13 = A network for administration alone
audit-firewall-r20 = Unused network cards are down
audit-firewall-r23 = Forged senders refused in each inside zone
audit-firewall-r27 = The clock is synchronised
audit-firewall-r29 = The policy in force has a comment
audit-firewall-r30 = No implicit rule: the rest is refused and logged
audit-ssh-r17 = SSH: by key only
audit-ssh-r21 = SSH: not root, and nothing but the console
audit-ssh-r27 = SSH: no tunnel and no forwarding
audit-filtering-needs = Each flow says what need it serves
audit-filtering-owners = Each flow has somebody who answers for it
audit-filtering-any-any = No flow from anywhere to anywhere
audit-filtering-any-service = No flow allows every service
audit-filtering-order = No flow covers another
audit-filtering-expired = No expired flow in the document
audit-filtering-to-firewall = Flows to the firewall name their services
audit-filtering-from-firewall = Flows from the firewall name their services
audit-filtering-log = Administrative access is logged
audit-interconnection-r20 = What is refused outside gets no answer
audit-interconnection-r21 = Inside addresses are not seen outside

# Why a deviation is one.
audit-why-linux-r3 = This machine starts by a BIOS, which checks no signature. Whoever reaches it can start something else on it: lock it away, or take a UEFI machine.
audit-why-linux-r5 = On a BIOS machine a boot loader’s password does not stop anybody who can plug in a stick of his own.
audit-why-linux-r6 = Without UEFI nothing checks the kernel and its command line at the start. The root file system still is checked, by the hash in that line.
audit-why-linux-r8 = Clearing freed pages (init_on_free) stands in for poisoning them. slub_debug would multiply the cost of each packet. Hyper-threading stays on, because no foreign program and no virtual machine runs here.
audit-why-linux-r12 = A firewall routes. With virtual addresses on two machines, arp_ignore=2, arp_filter and drop_gratuitous_arp would cut the service at each take-over; the guide says so. Forged senders are refused zone by zone, by the policy and by rp_filter on each card.
audit-why-linux-r13 = Router advertisements are refused everywhere (accept_ra=0), which leaves these settings without effect. They keep their values for the interface that the document wants an address by advertisement on.
audit-why-linux-r15 = Debian’s kernel. debugfs=off and the kernel’s lockdown close debugfs and /proc/kcore; there is no vsyscall page by default.
audit-why-linux-r16 = Debian’s kernel: these two checks are for debugging. Those of lists are on, and a damaged structure stops the kernel.
audit-why-linux-r17 = Debian’s kernel: slab_nomerge on the command line does the same (see R8).
audit-why-linux-r18 = Debian’s kernel: module.sig_enforce=1 on the command line demands the signature; Debian signs modules with SHA-256.
audit-why-linux-r19 = Debian’s kernel: kernel.panic_on_oops=1, and panic= on the command line, stop the machine and start it again; the other node takes over.
audit-why-linux-r21 = Debian’s kernel, built without plugins. Local variables are set to zero (INIT_STACK_ALL_ZERO), which STRUCTLEAK does only in part.
audit-why-linux-r23 = Debian’s kernel: a setting closes kexec, the command line hibernation; modules are frozen after the start (R10), and binfmt_misc is not loaded.
audit-why-linux-r25 = Debian’s kernel: ia32_emulation=0 on the command line closes 32-bit execution; the services’ system call filters refuse modify_ldt.
audit-why-linux-r28 = The root is read-only and verified; whatever is written is on one partition of state, of which journald reserves and bounds its share. hidepid would hinder systemd-logind: each service has a narrowed /proc of its own (ProtectProc).
audit-why-linux-r35 = rempartd and rempart-ha keep the account root, but with two and four capabilities only and in a sandbox: their files of state and /proc/sys/net are root’s.
audit-why-linux-r73 = There is no shell and no command to trace: the console is the only way to administer, and each commit keeps its author, its time and its reason. AppArmor’s refusals go to the journal.
