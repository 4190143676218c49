"""The whole idea on one machine, without root: `spegel-gossip demo`.

A registry and a few nodes run as real processes on loopback addresses, each node with an
image layout of its own. A story is told with them, and every claim of it is checked
against what the registry counted, what lies in the layouts and what the nodes answer.

    config      what can be chosen
    places      addresses that nobody uses
    children    processes that never outlive the demo
    image       the image, and whether a disk has it
    upstream    the registry, a program
    puller      a pull, a program; the nodes are the third, as anybody starts them
    cluster     all the processes
    asking      questions to them
    pulls       one pull and its result
    teller      steps, claims, time limits
    story       what is told and must be true
    picture     what is known so far
    watch       keeps the picture as the nodes see it
    view        the picture drawn; `screen` on a terminal, `lines` elsewhere
    summary     the table at the end
    run         from the first process to the last trace
"""
