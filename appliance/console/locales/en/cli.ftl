# What the verbs of the command line print.

head-interface = INTERFACE
head-zone = ZONE
head-device = DEVICE
head-state = STATE
head-in = IN
head-out = OUT
head-addresses = ADDRESSES
head-number = NO
head-flow = FLOW
head-action = ACTION
head-from = FROM
head-to = TO
head-services = SERVICES
head-hits = HITS
head-line = LINE
head-why = WHY
head-id = ID
head-protocol = PROTO
head-source = SOURCE
head-destination = DESTINATION
head-zones = ZONES
head-age = AGE
head-timeout = LEFT
head-sent = SENT
head-received = RECEIVED
head-stage = STAGE
head-what = WHAT
head-near-miss = NEARLY
head-why-not = WHY NOT
head-revision = REV
head-mark = ACTIVE
head-time = TIME
head-author = AUTHOR
head-digest = DIGEST
head-comment = COMMENT
head-service = SERVICE
head-ports = PORTS

status-head = { $node }  { $role }  up { $uptime }  Rempart { $version }
status-revision = Revision { $revision } by { $author }, { $time }: { $comment }
status-revision-bare = Revision { $revision } by { $author }, { $time }
status-no-revision = Nothing was ever committed: everything is refused.
status-pending = Revision { $revision } by { $author } is on trial: { $left } left. “rempart confirm” keeps it, “rempart revert” goes back.
status-candidate = The candidate differs from the running document: see “rempart diff”.
status-connections = Connections: { $count } of { $max }
status-flows = Flows: { $count }, of which off: { $inactive }
status-no-faults = ● No faults
status-fault = ✗ { $code }: { $message }

matrix-corner = FROM → TO
matrix-legend = · nothing   ▒ some hosts or services   █ everything   2 flows   ! a flow that is off or warned about
connections-count = { $count ->
    [one] { $count } connection
   *[other] { $count } connections
}
log-head = TIME                ACTION     ZONES         PROTO SOURCE                DESTINATION           FLOW
log-lost = { $count ->
    [one] { $count } entry was lost before it could be read.
   *[other] { $count } entries were lost before they could be read.
}
kill-done = { $count ->
    [one] { $count } connection ended.
   *[other] { $count } connections ended.
}
kill-none = { $count ->
    [one] no connection has this number, or it has been ended already
   *[other] no connection has one of these numbers, or they have been ended already
}
kill-no-flow = no connection of a flow “{ $flow }”
load-done = The candidate is loaded: see it with “rempart diff”, put it into force with “rempart commit”.
check-offline = rempartd does not answer: checked without what only it knows, such as leases and resolved names.
check-valid = ● The document is good.
check-invalid = ✗ The document may not be committed.
assertion-line = { $sign }: { $name } (line { $line })
assertion-why = {"    "}{ $why }
explain-verdict = { $verdict }: { $summary }
explain-decided = Decided by { $by }
explain-decided-line = Decided by { $by }, line { $line }
commit-warning = ! line { $line }, { $code }: { $message }
commit-done = Revision { $revision } is in force: { $steps ->
    [one] { $steps } step
   *[other] { $steps } steps
}, { $cut ->
    [one] { $cut } connection ended
   *[other] { $cut } connections ended
}, { $ms } ms.
commit-trial = Revision { $revision } is on trial: it goes back in { $left } unless you run “rempart confirm”.
commit-peer-same = { $node } has it in force too.
commit-peer-away = { $node } cannot be reached: it gets the revision when it is back.
commit-peer-behind = { $node } has not taken it yet, and will get it: see “rempart ha status”.
confirm-done = Revision { $revision } is kept.
revert-done = Revision { $revision } is in force again.
history-current = ●
history-rollback = [again { $of }] { $comment }
diff-empty = No difference.

edit-unchanged = The candidate is unchanged.
edit-loaded = The candidate is loaded: see it with “rempart diff”, put it into force with “rempart commit”.
edit-kept = Your text is kept in { $file }
edit-again = Edit again? [Y/n]
edit-no-editor = the editor did not end well: { $error }
error-file = { $file }: { $error }

head-path = PATH
head-since = SINCE
head-round-trip = ROUND TRIP
head-heard = HEARD
head-lost = LOST
head-refused = REFUSED
head-vrid = VRID
head-holder = HELD BY
ha-own = { $node }  { $role } since { $since } ({ $why }), epoch { $epoch }
ha-other = { $node }  { $role }, epoch { $epoch }
ha-other-lost = { $node }  ✗ not heard since { $heard }
ha-other-never = { $node }  ✗ never heard yet
ha-unpaired = ! The nodes are not paired: nothing is copied and they only hear each other’s adverts. See “rempart pair”.
ha-maintenance = ! { $node } is out of service: “rempart ha maintenance off” there brings it back.
ha-ailment = ✗ { $node }: { $what } ({ $about }) since { $since }
ha-ailment-undated = ✗ { $node }: { $what } ({ $about })
ha-damped = ! The role moved too often: it stays until { $until }.
ha-failback = The preferred node takes the role back at { $at }.
ha-configuration = Configuration: { $state }
ha-configuration-both = Configuration: { $state } (here { $own }, there { $other })
ha-diverged = ✗ Each node keeps its own: “rempart ha diff” shows how they differ, “rempart ha resolve mine” or “theirs” chooses for both.
ha-obstacle = ✗ It cannot be taken here: { $why }
ha-journal = { $entries ->
    [one] Connections: { $state }, { $entries } entry, { $backlog } waiting, { $lag } behind
   *[other] Connections: { $state }, { $entries } entries, { $backlog } waiting, { $lag } behind
}
ha-journal-troubles = overruns: { $overruns }, repairs: { $repairs }, sent again: { $resent }, refused: { $refused }
switch-done = The other node is active.
maintenance-on = This node is out of service.
maintenance-off = This node is in service again.
pair-offer = Type this on { $peer } within { $left }:  rempart pair { $code }
pair-waiting = Waiting for the other node; Ctrl-C ends the offer.
pair-done = Paired with { $peer }. Fingerprint of its key: { $fingerprint }
pair-failed = the pairing failed: { $reason }
pair-expired = nobody typed the code in time: begin again with “rempart pair”
pair-cancelled = the offer has been ended
unpair-done = The other node is forgotten. Unpair it there too, or replace it and pair anew.
resolve-changes = { $loser } takes the document of { $winner }. This changes on { $loser }; what it has now stays in its history:
resolve-ask = Do it? [y/N]
resolve-yes = nobody is asked here: give --yes to “rempart ha resolve” to have it done
resolve-left = left as it was
resolve-done = Both nodes have one document again: here it is revision { $revision }.
