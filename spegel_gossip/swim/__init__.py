"""Membership: SWIM (Das, Gupta, Motivala, 2002) with Lifeguard (Dadgar, Phillips, Currey, 2018).

`engine.Swim` is the way in; it computes and nothing else. Where we leave the two
papers, and hashicorp's memberlist, from which the defaults are, and why:

1. A claim with a higher incarnation beats any state, where SWIM's Confirm beats any
   incarnation: a pod returns under its old name and must be able to rejoin. The
   incarnation starts at the boot time in milliseconds, so half a cluster that
   restarts does not have to fight its own tombstones, and it rises by one with each
   refutation. At equal incarnation the order is total, ALIVE < SUSPECT < DEAD < LEFT,
   and every claim carries the whole record, so the merge is order-free and idempotent.
   Incarnations from 2^62 on are refused. (`claims`)
2. A `boot` number in the record identifies one life of a process; a member that is
   seen with another boot has joined anew. A boot of our own name that is higher than
   ours raises ours. An ALIVE or SUSPECT claim for our name with another boot *and*
   other addresses is a name conflict: it is shown, and never fought over. The older of
   the two tells the newer, which everybody else lets believe in a former life. (`view`)
3. A death that push-pull tells about a member we hold ALIVE or SUSPECT becomes a
   suspicion at that incarnation, with the peer as its accuser: two halves that
   declared each other dead must not, on meeting, talk each other's living off the
   ring. (`view`)
4. Ex-members are remembered. Their tombstones bear an age; from 12 h on they are
   neither sent nor hashed, at 24 h they are dropped. Every 30 s one of the dead is
   pinged, by turns one of the 16 most recent and one of the rest, round robin, and it
   is told that it is held dead, so that it can deny it. Ping
   and ack bear their sender's incarnation: whoever holds it dead, at another
   incarnation, or knows nothing of it, opens a push-pull. (`prober`, `exchanges`)
5. Ping and ack carry a note of at most 24 bytes for the layer above. An ack also says
   what time it is by its sender's clock: requests over streams are signed with the time
   as their recipient has it, and a member whose clock is days off goes on being one.
   (`engine`, `prober`)
6. Local health stretches the probe round and so the indirect wait, but not the wait
   for the direct ack. Relays send their nack at 80 % of the probe timeout. A failed
   probe costs as many points as nacks are missing, and one if nobody could be asked,
   as in memberlist: relays that answer prove that the fault is the target's. A member
   that was not run for a probe interval or longer forgets the probe under way, costs
   itself a point and gives its suspicions the lost time again. After a shorter delay
   others are asked late, and the verdict is as late as they were. (`prober`, `relays`)
7. Each datagram names its target (the envelope does, `Datagram.target`), and whoever
   bears another name drops it. Three confirmations bring a suspicion to its
   minimum; where fewer than three members could confirm, it lasts the minimum from
   the start. (`suspicion`)
"""
