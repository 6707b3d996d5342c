"""The controller: a learned policy on the NUMA balancing of a running kernel, under a guard.

Standard library alone and Python 3.9, for `tierenv export --format controller` packs this folder and a policy's tables
into one file that an operator copies to a host. It imports nothing of the rest of tierenv; the rest may import it.

    arithmetic, policy    a decision, in the integers of format kernel-c
    kernel                what the kernel makes of its knobs, and the knobs themselves
    machine               nodes, tiers, counters, resident memory
    journal               what was found in a knob, noted before it is written
    health, guard         whether a decision may be carried out, and when all is taken back
    controller            one interval after another
    supervisor            two processes, of which either puts the knobs back when the other is killed
    check, record, report, unit, command
"""
