"""Applications: closed loops of threads whose access time depends on where their pages lie (docs/model.md)."""

from tierenv.sim.jit import njit, njit_inlined
from tierenv.units import CACHE_LINE_BYTES

LEAST_FREE = 1e-3
"""Share of a link's bandwidth that others leave at least, also on one too narrow for the migration copies."""

_TOLERANCE = 1e-9
_MAX_ITERATIONS = 60
_MAX_SWEEPS = 200


@njit
def access_time(parameters, process, links, shares):
    """Time of one access of one of a process's threads that work [s].

    t = think + misses (sum over nodes of share latency(busy) + page walk) / parallelism, latency = idle + a u / (1 - u)
    with u the share of the time in which the node is busy (that with all others stands in `links`). As u depends on the
    process's access rate and that on t, it is a fixed point in the access rate k, found by Newton's method on
    k t(k) = threads at work, whose left side is convex and grows without bound as k nears what the links carry.

    Args:
        parameters: `tierenv.sim.records.PARAMETERS`.
        process: `tierenv.sim.records.PROCESS`.
        links: `tierenv.sim.records.LINK`[K + 1].
        shares: float64[K + 1], share of the accesses that lands on each node.
    """
    threads = process.working_threads
    per_miss = process.miss_share / process.memory_parallelism
    slow = parameters.num_nodes
    # node by node, in local variables: a loop over the nodes takes half as long again
    latency_0, queueing_0, free_0, use_0 = _load(parameters, process, links, shares, 0)
    latency_1, queueing_1, free_1, use_1 = 0.0, 0.0, 1.0, 0.0
    if slow == 2:
        latency_1, queueing_1, free_1, use_1 = _load(parameters, process, links, shares, 1)
    latency_s, queueing_s, free_s, use_s = _load(parameters, process, links, shares, slow)
    unloaded = process.think_s + (process.page_walk_s + latency_0 + latency_1 + latency_s) * per_miss
    limit = min(_most(free_0, use_0), min(_most(free_1, use_1), _most(free_s, use_s)))
    rate = min(threads / unloaded, 0.999 * limit)
    if process.access_rate > 0.0:
        rate = min(rate, process.access_rate)  # the last solution is hardly ever far off
    for _ in range(_MAX_ITERATIONS):
        per_free_0 = 1.0 / (free_0 - rate * use_0)
        per_free_1 = 1.0 / (free_1 - rate * use_1)
        per_free_s = 1.0 / (free_s - rate * use_s)
        waited_0, waited_1, waited_s = queueing_0 * per_free_0, queueing_1 * per_free_1, queueing_s * per_free_s
        # a u / (1 - u) = a / (1 - u) - a
        queueing = waited_0 - queueing_0 + waited_1 - queueing_1 + waited_s - queueing_s
        growth = waited_0 * use_0 * per_free_0 + waited_1 * use_1 * per_free_1 + waited_s * use_s * per_free_s
        time = unloaded + queueing * per_miss
        step = (rate * time - threads) / (time + rate * growth * per_miss)
        rate -= step
        if rate >= limit:  # cannot happen coming from above, but a first step from below may lead too far
            rate = 0.5 * (rate + step + limit)
            if rate >= (1.0 - _TOLERANCE) * limit:
                break  # without queueing latency nothing holds a process back before the link is full
        if abs(step) <= _TOLERANCE * rate:
            break
    return threads / rate


@njit_inlined
def _load(parameters, process, links, shares, node):
    """What a node adds to an access: latency, queueing latency, share of its time that others leave, time taken [s].

    MODEL: the slow node is as far from either socket.
    """
    link = links[node]
    is_remote = node < parameters.num_nodes and node != process.cpu_node
    idle_s = link.idle_s + process.store_share * (link.store_s - link.idle_s)
    if is_remote:
        idle_s += parameters.remote_s
    share = shares[node]
    return share * idle_s, share * link.queueing_s, max(LEAST_FREE, 1.0 - link.busy), share * busy_s(process, link)


@njit_inlined
def busy_s(process, link):
    """How long an access of a process, one in a cache included, keeps a node busy on average [s]."""
    read_s = process.read_bytes / link.bandwidth
    written_s = process.store_share * CACHE_LINE_BYTES / link.store_bandwidth
    return process.miss_share * (read_s + written_s)


@njit_inlined
def _most(free, use):
    """Access rate at which the free time of a link would be used up."""
    return free / use if use > 0.0 else 1e300


@njit_inlined
def solve_rates(parameters, processes, links, shares):
    """Set the access rate of every running process, when all share the links and migration copies load them, too.

    One process after another solves for its own rate beside the others' last ones, until none changes. Stalled threads
    leave the memory to those that work.

    Args:
        parameters: `tierenv.sim.records.PARAMETERS`.
        processes: `tierenv.sim.records.PROCESS`[M]; `access_rate` is set.
        links: `tierenv.sim.records.LINK`[K + 1].
        shares: float64[M, K + 1], share of a process's accesses that lands on each node.
    """
    for node in range(parameters.num_nodes + 1):
        links[node].busy = links[node].copied_per_s / links[node].bandwidth
    if parameters.num_processes == 1:
        process = processes[0]
        process.access_rate = process.working_threads / access_time(parameters, process, links, shares[0])
        return
    for index in range(parameters.num_processes):
        processes[index].access_rate = 0.0
    for _ in range(_MAX_SWEEPS):
        change = 0.0
        for index in range(parameters.num_processes):
            process = processes[index]
            if process.is_running:
                before = process.access_rate
                for node in range(parameters.num_nodes + 1):
                    links[node].busy -= before * shares[index, node] * busy_s(process, links[node])
                process.access_rate = process.working_threads / access_time(parameters, process, links, shares[index])
                for node in range(parameters.num_nodes + 1):
                    links[node].busy += process.access_rate * shares[index, node] * busy_s(process, links[node])
                change = max(change, abs(process.access_rate - before) / process.access_rate)
        if change <= _TOLERANCE:
            return
