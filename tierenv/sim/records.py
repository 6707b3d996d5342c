"""What both models read and write of a machine: its constants, its processes, its nodes and its links."""

import numpy as np

from tierenv.tunables import columns_of

MODEL_COUNTERS = ("wasted_promotions", "duplicates", "peak_list_entries", "list_allocation_failures", "balancing_ns")
"""What only the model knows: promotions of pages that do not belong to the hottest that fit, entries of pages
already on the list, the longest list, entries for which there was no memory, and CPU time that NUMA balancing takes
threads of the processes [ns]: for marking pages, for hint faults and for promotions at them."""
WASTED = MODEL_COUNTERS.index("wasted_promotions")
DUPLICATES = MODEL_COUNTERS.index("duplicates")
PEAK_LIST = MODEL_COUNTERS.index("peak_list_entries")
ALLOCATION_FAILURES = MODEL_COUNTERS.index("list_allocation_failures")
BALANCING_NS = MODEL_COUNTERS.index("balancing_ns")

PERIOD, SIZE, THROTTLE, HOT_THRESHOLD, ACCESS_THRESHOLD = columns_of(
    ["scan_period", "scan_size", "throttle", "hot_threshold", "access_threshold"]
)
"""Columns of the tunables that the models know. Any other is kept as it is put in force, and acts on nothing."""

CONTROL_OFF, CONTROL_TUNABLES, CONTROL_KERNEL_RULE = range(3)
TARGET_FIXED, TARGET_MOST_SCANNED, TARGET_MOST_ACCESSED = range(3)
SCALE_IGNORED, SCALE_ZERO_SKIPS, SCALE_LENGTHENS_PERIOD = range(3)

PARAMETERS = np.dtype(
    [
        # platform; times in s
        ("remote_s", "f8"),
        ("scan_s", "f8"),
        ("accessed_bit_s", "f8"),
        ("migration_s", "f8"),
        ("failed_migration_s", "f8"),
        ("stale_entry_s", "f8"),
        ("reclaim_visit_s", "f8"),
        ("ages_by_walk", "b1"),  # all page tables, whatever node their pages are on
        ("demotion_s", "f8"),
        ("promotion_stall_s", "f8"),
        ("demotion_stall_s", "f8"),
        ("demotion", "b1"),
        ("slow_capacity_pages", "i8"),
        # how many of each there are on this machine
        ("num_processes", "i8"),
        ("num_nodes", "i8"),
        ("num_classes", "i8"),
        ("num_regions", "i8"),
        # daemon
        ("control", "i8"),
        ("is_tunable_at_run_time", "b1"),
        ("is_second_access", "b1"),
        ("most_streak", "i8"),  # windows in a row that are counted; 0 where the last two are all that matters
        ("start_threshold", "i8"),
        ("first_visit_resets", "b1"),
        ("is_whole_vma", "b1"),
        ("walks_on_without_hits", "b1"),
        ("rechecks_hotness", "b1"),
        ("target_rule", "i8"),
        ("scale_rule", "i8"),
        ("failure_window", "i8"),
        ("has_migration_thread", "b1"),
        ("counts_all_slow_pages", "b1"),
        ("initial_delay_s", "f8"),
        ("scan_sleep_s", "f8"),
        ("mms_to_scan", "i8"),
        ("migrate_sleep_s", "f8"),
        ("throttle_window_s", "f8"),
        ("list_capacity", "i8"),
        ("decay_shift", "i8"),
        ("ignore_threshold_pages", "i8"),
        ("period_step_percent", "i8"),
        ("period_jump_shift", "i8"),
        ("period_min_ms", "i8"),
        ("period_max_ms", "i8"),
        ("size_min_bytes", "i8"),
        ("size_max_bytes", "i8"),
        ("fixed_target_node", "i8"),
        # NUMA balancing
        ("numa_mode", "i8"),
        ("is_numa_tunable", "b1"),
        ("numa_scan_rate_pages", "f8"),  # most that a thread marks in a second
        ("numa_start_period_factor", "f8"),
        ("numa_fault_s", "f8"),
        ("numa_mark_s", "f8"),
        ("numa_shared_move_share", "f8"),
        ("is_numa_threshold_adaptive", "b1"),
        # resolution
        ("max_substep_s", "f8"),
        ("server_quantum_s", "f8"),
    ],
    align=True,
)

KNOB_FIELDS = [
    ("numa_delay_s", "f8"),
    ("numa_start_period_ms", "f8"),
    ("numa_window_pages", "i8"),
    ("numa_hot_threshold_s", "f8"),  # the reference: nodes have their own
    ("numa_threshold_every_s", "f8"),
    ("numa_floor_ms", "f8"),  # between two windows, however long the pass
    ("numa_pass_min_ms", "f8"),  # of a pass over the resident memory, as the next
    ("numa_pass_max_ms", "f8"),
    ("numa_rate_limit_pages", "f8"),  # per second
]
KNOBS = np.dtype(KNOB_FIELDS, align=True)
"""Knobs of NUMA balancing in force, part of either model's state."""

PROCESS = np.dtype(
    [
        ("full_threads", "f8"),  # of all processes alike that the record stands for, as the pages and the work
        ("mean_threads", "f8"),  # that its load lets work, averaged over time
        ("count", "f8"),
        ("think_s", "f8"),
        ("memory_parallelism", "f8"),
        ("miss_share", "f8"),
        ("read_bytes", "f8"),  # of an access that misses
        ("store_share", "f8"),
        ("page_walk_s", "f8"),
        ("total_accesses", "f8"),
        ("cpu_node", "i8"),
        ("own_node", "i8"),  # that of its socket, or node 0 where that is not of the fast tier
        ("first_class", "i8"),
        ("end_class", "i8"),
        ("num_phases", "i8"),
        ("is_timed", "b1"),  # phases end by the clock
        ("num_load_steps", "i8"),
        ("has_absent", "b1"),  # some phase lacks some class
        ("has_rest_vma", "b1"),
        ("scan_scale", "i8"),
        ("is_endless", "b1"),
        ("is_repeating", "b1"),
        ("every_s", "f8"),  # of one that is executed anew at multiples of it, otherwise 0
        ("all_fast_access_s", "f8"),  # time of an access alone on the machine, all pages on the own node
        # what follows changes
        ("start_s", "f8"),  # when it is executed, or was last
        ("threads", "f8"),  # that its load lets work now
        ("pages", "i8"),  # that it holds while it runs
        ("numa_period_min_ms", "f8"),
        ("numa_period_max_ms", "f8"),
        ("is_running", "b1"),
        ("is_done", "b1"),
        ("finished_s", "f8"),
        ("accesses", "f8"),  # since it last began
        ("rounds", "i8"),  # how often it has begun again
        ("working_threads", "f8"),  # those that are not stalled
        ("access_rate", "f8"),  # accesses/s
        ("unstalled_rate", "f8"),  # without stalls, as the present sub-step began
        ("pace", "f8"),  # with the stalls of late, as a share of that without
        ("stall_s", "f8"),  # time its threads still have to lose
        ("phase", "i8"),
        ("phase_until_s", "f8"),  # infinite where it ends by work
        ("resident_phase", "i8"),  # the one whose classes hold memory
        ("load_step", "i8"),
        ("load_until_s", "f8"),
    ],
    align=True,
)
"""One process as an application: what it is and how far it has got."""

PHASE_S, LOAD_S, LOAD_SHARE = range(3)
"""Columns of the timetables: how long each phase lasts, infinite where it ends by work; how long each step of the load
lasts, and which share of the threads works in it."""

MM_FIELDS = [
    # the scanner's slot
    ("period_ms", "f8"),
    ("size_bytes", "f8"),
    ("last_scan_end_s", "f8"),
    ("due_s", "f8"),
    ("scans", "i8"),
    ("passes", "i8"),  # over the whole address space
    ("is_rest_next", "b1"),
    ("cursor", "i8"),  # where the next chunk begins
    ("useful_pages", "i8"),  # X of kmmscand.md section 6.2
    ("target_node", "i8"),
    # failure feedback (section 6.5)
    ("recent_successes", "i8"),
    ("recent_failures", "i8"),
    ("successes", "i8"),
    ("failures", "i8"),
    ("failure_percent", "i8"),
    # NUMA balancing
    ("numa_scan_at_s", "f8"),
    ("numa_period_ms", "f8"),
    ("numa_local_faults", "f8"),  # this and the next three since the period last changed
    ("numa_remote_faults", "f8"),
    ("numa_private_faults", "f8"),
    ("numa_failures", "i8"),
    ("is_numa_pass_over", "b1"),  # and no fault has been counted since
]
"""One process as the kernel knows it; each model adds where its pages lie."""

LINK = np.dtype(
    [
        ("idle_s", "f8"),
        ("store_s", "f8"),
        ("queueing_s", "f8"),
        ("bandwidth", "f8"),  # bytes/s read
        ("store_bandwidth", "f8"),  # bytes/s written
        ("copied_per_s", "f8"),  # bytes/s of migration copies
        ("busy", "f8"),  # share of the time taken by all others, while a process's rate is being solved for
    ],
    align=True,
)
"""A node's memory. Nodes of the fast tier come first, the slow node last."""

NODE = np.dtype(
    [
        ("capacity_pages", "i8"),
        ("watermark_pages", "i8"),
        ("kswapd_target_pages", "i8"),
        ("spare_pages", "i8"),  # what NUMA balancing leaves before it promotes without asking
        ("hand_row", "i8"),
        ("reclaim_lead", "f8"),  # share of its pages that are aged ahead of the hand
        # what follows changes
        ("fast_pages", "i8"),
        ("moved_pages", "i8"),  # to and from this node in the present sub-step
        ("is_kswapd_awake", "b1"),
        ("kswapd_clock_s", "f8"),
        ("hand_lump", "i8"),
        ("aging_lump", "i8"),  # aged last
        ("aged_pages", "i8"),  # and not looked at since
        ("scanned_pages", "i8"),  # in the present chunk, as the next
        ("accessed_pages", "i8"),
        ("numa_threshold_s", "f8"),
        ("numa_threshold_at_s", "f8"),
        ("numa_threshold_candidates", "i8"),
        ("numa_rate_at_s", "f8"),
        ("numa_rate_candidates", "i8"),
        ("numa_candidates", "i8"),
    ],
    align=True,
)
"""One node of the fast tier. Row `hand_row` of `counts` holds, in the node's cells, pages of the lump under kswapd's
hand that it has yet to visit, and which are not in the lump's own row."""
