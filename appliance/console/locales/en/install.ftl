# Installing from the stick that the box was started from.

keys-live = i install  t try it live  k keep this stick  L français  q quit
keys-live-disks = ↑↓ disk  Enter take it  Esc step back  F2 français
keys-live-confirm = Enter write it over  Esc step back  F2 français
keys-live-copying = F2 français
keys-live-done = Enter start the box again  F2 français
keys-live-keep = y keep it and start again  Esc step back  F2 français
live-banner = ! LIVE: nothing is kept when the box restarts; “:install” puts Rempart onto a disk
live-title = STARTED FROM A STICK ({ $stick }): NOTHING IS WRITTEN TO IT
live-about =
    
      i  Install Rempart on a disk of this box. All that is on the disk is lost.
    
      t  Try it live: everything works, and nothing is kept when the box
         restarts, no document, no password, no log.
    
      k  Keep Rempart on this stick: it becomes the disk of this box. For a box
         whose disk is a USB module; an ordinary stick wears out.
live-disks = ON WHICH DISK?
live-about-disks = All that is on the disk will be lost. The stick itself is not shown.
live-confirm = EVERYTHING ON { $disk } WILL BE LOST
live-about-confirm = { $model }, { $size }. On it now: { $holds }
live-type = Type “{ $answer }” to go on.
live-field = Disk
live-wrong = That is not it: nothing is written.
live-copying = INSTALLING ON { $disk }
live-about-copying = Do not switch the box off: a disk that is half written starts nothing, and the installation would have to be begun again.
live-looking = Looking at the disks…
live-percent = { $line } ({ $percent } %)
live-done = REMPART IS ON { $disk }
live-about-done = All of it was read back and compared. Press Enter, and take the stick out when the screen goes dark; the box then starts from its disk and asks how it is to be set up.
live-keep = KEEP REMPART ON THIS STICK?
live-about-keep = The box starts again and makes the other slot and its encrypted state in the rest of the stick ({ $stick }). From then on the stick belongs to this box.
live-leaving = ● The box starts again…
install-live = This box was started from a stick ({ $stick }): nothing is kept.
install-not-live = This box was not started from a stick that keeps nothing: nothing can be installed from here.
install-no-disks = There is no disk but the stick. Is there a driver for it?
install-head-disk = DISK
install-head-size = SIZE
install-head-model = MODEL
install-head-serial = SERIAL
install-head-holds = ON IT
install-head-why-not = WHY NOT
install-empty = nothing that is known
install-in-use = in use: { $what }
install-read-only = write-protected
install-small = too small: a box needs 1.7 GB
install-sure = Everything on { $disk } ({ $answer }; on it: { $holds }) would be lost: “--yes” does it.
install-writes = Written: { $done } of { $all }
install-compares = Read back and compared: { $done } of { $all }
install-done = Rempart is on { $disk }, read back and compared. “rempart install --restart” starts the box again: take the stick out then.
install-failed = { $disk }: { $why }
