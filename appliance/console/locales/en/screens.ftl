# The screens. Key lines have 80 columns.

no-terminal = the screens need a terminal. Use the verbs instead: “rempart status”, “rempart --help”.
too-small = The screens need 60×16; this terminal has { $width }×{ $height }. The verbs work everywhere: “rempart status”.
header = { $node }  { $glyph } { $role }  revision { $revision }
header-unknown = Rempart
tab-dashboard = 1 Dashboard
tab-matrix = 2 Flows
tab-connections = 3 Connections
tab-log = 4 Log
tab-configuration = 5 Configuration
banner-pending = ! PENDING CONFIRM: revision { $revision } goes back in { $left }   y keep it   r go back now
banner-stale = ✗ No answer from rempartd since { $since }: what is shown is OLD
banner-absent = ✗ No answer from rempartd since { $since }: nothing is known yet
banner-denied = ✗ You may not ask rempartd: use sudo, or have your account allowed
yes = yes
no = no

keys-dashboard = 1-7 screens  ↑↓ scroll  e explain  : command  ? help  L français  q quit
keys-matrix = ←↑↓→ move  Enter flows  t turn  e explain  1-7  ? help  L français  q quit
keys-connections = / filter  Enter details  k end  f freeze  s sort  e explain  1-7  ? help  q quit
keys-log = / filter  Enter details  f freeze  e explain  1-7 screens  ? help  q quit
keys-configuration = Enter change  E edit  d diff  p plan  c commit  b back  v view  ? help  q quit
keys-filter = Enter keep  Esc drop  port:443 zone:lan flow:web addr:10.0.0.0/8 !proto:udp text
keys-text = ↑↓ PgUp PgDn scroll  Esc back
keys-flows = ↑↓ move  Enter details  Esc back
keys-details = Esc back
keys-connection = k end this connection  Esc back
keys-kill = y end them  n leave them  ↑↓ PgUp PgDn scroll
keys-revert = y go back now  n leave it  ↑↓ PgUp PgDn scroll
keys-commit = Enter commit  Tab other field  ↑↓ PgUp PgDn scroll  Esc leave
keys-explain = Enter ask  Tab ↑↓ other field  PgUp PgDn scroll  Esc leave

live-running = ● live
live-frozen = ■ FROZEN
filter-none = / filter
filter-set = Filter: { $text }
filter-editing = Filter: { $text }_
filter-bad = Filter: { $text }  ✗ “{ $word }” makes no sense
connections-shown = { $shown } of { $all }
connections-none = No connections, or none that the filter lets through.
head-bytes = BYTES
head-sorted = { $title }↓
log-shown = { $shown ->
    [one] { $shown } entry
   *[other] { $shown } entries
}
log-shown-lost = { $shown ->
    [one] { $shown } entry
   *[other] { $shown } entries
}, { $lost } lost
log-time = TIME
log-none = No entries, or none that the filter lets through.

dashboard-connecting = Asking rempartd…
dashboard-up = Up { $uptime }, Rempart { $version }
dashboard-candidate = ! A candidate waits: 5, then d shows what differs, c commits it
dashboard-zones = Zones: { $names }
dashboard-zone-external = { $name } (outside)
dashboard-connections = Connections: { $count } of { $max } ({ $share } %)
dashboard-minute = 1 MINUTE
dashboard-faults = { $count ->
    [one] { $count } FAULT
   *[other] { $count } FAULTS
}

matrix-no-flows = No flow in this cell: everything is refused here.
matrix-empty = No flows: everything between the zones is refused.
matrix-corner-services = SERVICE
matrix-key = · nothing  ▒ in part  █ everything  2 number of flows  ! a flow off or warned about

configuration-candidate = ! The candidate differs from the running document: d shows how, c commits it
configuration-no-candidate = The candidate is the running document: “rempart edit” or “rempart load” changes it
configuration-none = Nothing was ever committed.
revision-current = ● in force
revision-pending = ! on trial

detail-flow = Flow
detail-number = Number
detail-number-line = { $number }, line { $line } of the document
detail-action = Action
detail-state = State
detail-from = From
detail-from-zones = From zones
detail-to = To
detail-to-zones = To zones
detail-services = Services
detail-publish = Published
detail-log = Logged
detail-why = Why
detail-owner = Answers for it
detail-expires = Last day
detail-schedule = Schedule
detail-hits = Decided
detail-hits-bytes = { $hits ->
    [one] { $hits } time, { $bytes }
   *[other] { $hits } times, { $bytes }
}
detail-odd = ! Odd
detail-odd-inactive = The calendar has switched it off.
detail-odd-hint = { $message }: { $hint }
detail-connection = Connection
detail-protocol = Protocol
detail-source = Source
detail-destination = Destination
detail-icmp-type = ICMP type
detail-translated-destination = Really goes to
detail-translated-source = Leaves as
detail-zones = Zones
detail-age = Age
detail-timeout = Forgotten in
detail-sent = Sent
detail-received = Received
detail-traffic = { $bytes } in { $packets ->
    [one] { $packets } packet
   *[other] { $packets } packets
}
detail-entry = Entry
detail-time = Time
detail-decided = Decided by
detail-in-interface = Came in by
detail-out-interface = Out by
detail-length = Length
detail-no-flow = no flow
detail-flow-number = { $label } (number { $number })

text-waiting = Asking rempartd…
text-sending = rempartd is at it…
text-more = … { $count } more lines (PgDn)
title-help = KEYS
title-flows = { $count ->
    [one] { $count } FLOW OF THIS CELL, THE FIRST THAT MATCHES DECIDES
   *[other] { $count } FLOWS OF THIS CELL, THE FIRST THAT MATCHES DECIDES
}
title-flow = FLOW
title-connection = CONNECTION
title-entry = LOG ENTRY
title-kill = { $count ->
    [one] END { $count } CONNECTION
   *[other] END { $count } CONNECTIONS
}
title-commit = COMMIT THE CANDIDATE
title-rollback = ROLL BACK TO REVISION { $revision }
title-revert = GO BACK FROM THE COMMIT ON TRIAL
title-report = COMMITTED
title-explain = WHAT BECOMES OF A PACKET
title-failure = NOT DONE
title-show = REVISION { $revision }
title-candidate = WHAT THE CANDIDATE CHANGES
title-diff = FROM { $from } TO { $to }
title-plan = WHAT THE CANDIDATE WOULD DO
kill-question = ! Exactly these will be ended: y ends them, n leaves them
revert-question = ! What is below will change in the running document at once: y goes back, n leaves it
commit-comment = Why
commit-time = Goes back unless confirmed within
commit-bad-time = ✗ This time cannot be read: 30s, 5m, 1h; empty is for good
commit-refused = ✗ Refused, nothing was changed: see below
commit-force = ✗ This would cut your own session. Ctrl-F commits all the same
commit-nothing = Nothing would change.
commit-for-good = ! Without a time it is for good: Enter commits
commit-ready = ● Seen what is below? Enter commits
report-trial = ! It goes back by itself in { $left }: y on any screen keeps it, r goes back now.
report-step = - { $step }
explain-from = From zone
explain-source = Source address
explain-destination = Destination address
explain-service = Service
explain-hint = The zone may be left out. Service: tcp/443, udp/53, icmp/echo-request, proto/47.
explain-near = NEARLY
explain-near-line = { $label } (line { $line }): { $why }

help-text =
    Everywhere
      1 to 7, Tab      the screens, by their number or one after the other
      :                any verb of the command line, with completion (Tab) and history (↑)
      e                what becomes of a packet, filled in from where the cursor is
      y, r             keep the commit on trial, go back from it
      L, F2            français
      Ctrl-L           draw again, and ask a serial terminal for its size
      Esc              back
      q, Ctrl-C        quit

    Flows
      arrows, Enter    a cell and its flows; a flow and its details
      t                zones by zones, or services by pairs of zones
      ·  ▒  █  !       nothing, something, everything; a flow that is odd

    Connections, log
      /                filter: port:443 zone:lan flow:web addr:192.168.10.0/24
                       proto:tcp action:drop, any text, ! before a term for not
      f                freeze, and go on
      s, n b a t       sort: next, newest, bytes, age, timeout
      k, K             end this connection, all that the filter lets through

    Configuration
      Enter            what this revision changed
      E                edit the candidate; Ctrl-S checks and keeps it
      d, p             what the candidate changes, what it would do to the kernel
      c, b             commit the candidate, roll back to this revision
      v                the document of this revision

    Pair
      s                hand the role to the other node; established connections lose nothing
      m                take this node out of service, or back in
      d                how the documents of the two nodes differ
      c                choose between two documents that have diverged

tab-pair = 6 Pair
keys-pair = s switch the role  m maintenance  d diff  c choose  ↑↓ scroll  ? help  q quit
keys-choose = m mine  t theirs  y do it  n leave it  ↑↓ PgUp PgDn scroll
keys-move = y do it  n leave it
pair-asking = Asking rempart-ha…
pair-events = LAST EVENTS
pair-event = { $time }  { $what } { $about }
event-role-active = became active,
event-role-standby = became standby,
event-path-down = path lost:
event-path-up = path back:
event-path-state = { $path } ({ $state })
event-peer-lost = other node lost
event-peer-back = other node back
event-peer-restarted = other node’s program started anew
event-two-actives = both nodes were active:
event-stays = this one stays so
event-steps-down = this one steps down
event-handed-over = role handed over in order
event-hand-over-failed = the role could not be handed over:
event-router-active = virtual addresses taken on
event-router-backup = virtual addresses let go on
event-router-hindered = virtual router cannot take part on
event-gateway-silent = gateway silent on
event-gateway-back = gateway back on
event-kernel-refused = the kernel refused:
event-no-priority = no real-time priority:
event-damped = moves held back
failure-not-flushed = not all connections were acknowledged
failure-not-ready = the other node was not ready
failure-not-taken = the other node did not take it
failure-peer-lost = the other node fell silent
failure-peer-unfit = the other node became unfit
failure-cancelled = taken back
event-stalled = this node was stalled
title-move = Move the role
move-switch = The role goes to the other node, in order: the connections are copied to the last, the other node takes the virtual addresses, then this one lets them go. Established connections lose nothing.
move-maintenance-on = This node goes out of service: the other one takes the role, and this one does not take it back, whatever happens, until it is in service again.
move-maintenance-off = This node comes back into service: it is standby, and takes the role when the other node cannot.
move-question = Do it? y yes, n no
title-nodes = FROM THE DOCUMENT OF THIS NODE TO THAT OF THE OTHER
title-choose = CHOOSE A DOCUMENT FOR BOTH NODES
choose-help = Both nodes were changed while they could not reach each other, so that neither document follows from the other, and each node keeps its own. Nothing is merged: one of the two will be in force on both. The other one stays in the history of its node. What the choice changes is shown before it is done.
choose-question = ! m: both take the document of this node   t: both take that of the other
choose-sure = ! Exactly this will change at once: y does it, n leaves it

keys-lab = d download  s SSH  k kill the active router  b bring it back  Esc back
title-lab = THE LAB
lab-nothing = LAB  X: a download and an SSH session through the firewall; kill a router
lab-one = LAB (X)  { $stream }
lab-both = LAB (X)  { $download }   { $ssh }
lab-download = download { $rate }, longest pause { $pause }
lab-download-ended = ✗ download ENDED
lab-ssh = SSH longest pause { $pause }
lab-ssh-ended = ✗ SSH ENDED
lab-stream = The lab is at it…
lab-kills = The power of the active router fails…
lab-starts = The router starts: it copies the connections before it is ready to take over…
lab-is-off = The active router is off. X, then b brings it back.
lab-is-on = The router is on again.
lab-failed = ✗ The lab says: { $why }
lab-help =
    d   starts or ends a download from the Internet to cli-lan, through the
        address translation, over one connection.
    s   starts or ends an SSH session from srv-voip to srv-ebrigade, which says
        something ten times a second, so that it is silent for 100 ms by itself.
    k   takes the power from whichever router is active. If it is the one whose
        console this is, the console of the other one opens.
    b   gives the power back to the router that is off.

    The line at the top shows how both fare, and the longest pause of each.
    In another terminal: make lab-cut, lab-freeze, lab-kill; see the README.

title-prompt = A VERB (Tab completes, ↑ the one before, --help says more)
keys-prompt = Enter run  Tab complete  ↑↓ earlier ones  Esc leave
keys-output = Ctrl-C end it  ↑↓ PgUp PgDn scroll  End follow
prompt-quote = A quotation mark has no end.
prompt-runs = ● runs
prompt-done = ● done
prompt-misread = ! not run
prompt-interrupted = ! ended before it was done
prompt-failed = ✗ exit code { $code }: not done
prompt-forgotten = … { $count } lines before these are forgotten
prompt-return = Enter: back to the screens
