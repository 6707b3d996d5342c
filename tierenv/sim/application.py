"""The application: a closed loop of threads whose access time depends on where its pages lie (design.md 3.2)."""

from tierenv.sim.jit import njit, njit_inlined

CACHE_LINE_BYTES = 64
"""Memory traffic of one access."""

_TOLERANCE = 1e-9
_MAX_ITERATIONS = 60


@njit_inlined
def _loaded_latency(idle_s, queueing_s, utilisation):
    """Latency of a tier at a share of its bandwidth: idle + a u / (1 - u)."""
    return idle_s + queueing_s * utilisation / (1.0 - utilisation)


@njit
def access_time(parameters, fast_share, migration_bytes_per_s):
    """Time of one access of one thread [s], stalls excluded.

    t = think + (fast_share latency_dram + (1 - fast_share) latency_cxl + page walk) / overlap, where the latencies
    depend on the bandwidth in use, and that on the access rate threads / t: a fixed point in the access rate k,
    found by Newton's method on k t(k) = threads, whose left side is convex and grows without bound as k nears what
    the links carry.
    """
    threads = parameters.threads
    slow_share = 1.0 - fast_share
    dram_per_access = fast_share * CACHE_LINE_BYTES / parameters.dram_bandwidth
    cxl_per_access = slow_share * CACHE_LINE_BYTES / parameters.cxl_bandwidth
    dram_base = migration_bytes_per_s / parameters.dram_bandwidth
    cxl_base = migration_bytes_per_s / parameters.cxl_bandwidth
    constant = parameters.think_s + parameters.page_walk_s / parameters.overlap

    limit = 1e300
    if dram_per_access > 0.0:
        limit = min(limit, (1.0 - dram_base) / dram_per_access)
    if cxl_per_access > 0.0:
        limit = min(limit, (1.0 - cxl_base) / cxl_per_access)
    unloaded = (
        constant + (fast_share * parameters.dram_idle_s + slow_share * parameters.cxl_idle_s) / parameters.overlap
    )
    rate = min(threads / unloaded, 0.999 * limit)
    time = unloaded
    for _ in range(_MAX_ITERATIONS):
        dram_use = dram_base + rate * dram_per_access
        cxl_use = cxl_base + rate * cxl_per_access
        time = (
            constant
            + (
                fast_share * _loaded_latency(parameters.dram_idle_s, parameters.dram_queueing_s, dram_use)
                + slow_share * _loaded_latency(parameters.cxl_idle_s, parameters.cxl_queueing_s, cxl_use)
            )
            / parameters.overlap
        )
        growth = (
            fast_share * parameters.dram_queueing_s * dram_per_access / (1.0 - dram_use) ** 2
            + slow_share * parameters.cxl_queueing_s * cxl_per_access / (1.0 - cxl_use) ** 2
        ) / parameters.overlap
        step = (rate * time - threads) / (time + rate * growth)
        rate -= step
        if rate >= limit:  # cannot happen coming from above; guards the first step
            rate = 0.5 * (rate + step + limit)
        if abs(step) <= _TOLERANCE * rate:
            break
    return threads / rate


@njit_inlined
def fast_share(machine, phase):
    """Probability that an access of a phase lands on the fast tier at the present placement."""
    share = 0.0
    for page_class in range(machine.parameters.num_classes):
        pages = machine.class_pages[page_class]
        if pages > 0:
            share += machine.access_share[phase, page_class] * machine.fast_by_class[page_class] / pages
    return min(1.0, share)


@njit
def remaining_time(machine):
    """Time for the rest of the present phase if no page moved any more, and for later phases on the fast tier [s].

    Later phases are not charged with the present placement: what is hot now would pay for what turns cold later, and a
    page promoted in its phase would look like a loss.
    """
    parameters = machine.parameters
    state = machine.state
    if state.is_done:
        return 0.0
    phase_end = machine.phase_end[state.phase]
    work_now = phase_end - state.accesses
    work_later = machine.phase_end[parameters.num_phases - 1] - phase_end
    time_now = access_time(parameters, fast_share(machine, state.phase), 0.0)
    return (work_now * time_now + work_later * access_time(parameters, 1.0, 0.0)) / parameters.threads
