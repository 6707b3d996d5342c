/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Tracepoints by the names and with the fields of the kmmscand series; mm is the process. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tierd

#if !defined(TIERD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TIERD_TRACE_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(tierd_mm,
	TP_PROTO(pid_t mm),
	TP_ARGS(mm),
	TP_STRUCT__entry(__field(pid_t, mm)),
	TP_fast_assign(__entry->mm = mm;),
	TP_printk("mm=%d", __entry->mm)
);

DEFINE_EVENT(tierd_mm, kmem_mm_enter, TP_PROTO(pid_t mm), TP_ARGS(mm));
DEFINE_EVENT(tierd_mm, kmem_mm_exit, TP_PROTO(pid_t mm), TP_ARGS(mm));
DEFINE_EVENT(tierd_mm, kmem_scan_mm_start, TP_PROTO(pid_t mm), TP_ARGS(mm));

/* Period and size are those of the chunk, before the rule changes them. */
TRACE_EVENT(kmem_scan_mm_end,
	TP_PROTO(pid_t mm, unsigned long address, u64 total, u32 scan_period, u64 scan_size,
		 int target_node),
	TP_ARGS(mm, address, total, scan_period, scan_size, target_node),
	TP_STRUCT__entry(
		__field(unsigned long, address)
		__field(u64, total)
		__field(u64, scan_size)
		__field(u32, scan_period)
		__field(pid_t, mm)
		__field(int, target_node)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->address = address;
		__entry->total = total;
		__entry->scan_period = scan_period;
		__entry->scan_size = scan_size;
		__entry->target_node = target_node;
	),
	TP_printk("mm=%d address=%#lx total=%llu scan_period=%u scan_size=%llu target_node=%d",
		  __entry->mm, __entry->address, __entry->total, __entry->scan_period,
		  __entry->scan_size, __entry->target_node)
);

/* One event for the pages that end together. */
TRACE_EVENT(kmem_scan_mm_migrate,
	TP_PROTO(pid_t mm, int rc, int target_node, u32 pages),
	TP_ARGS(mm, rc, target_node, pages),
	TP_STRUCT__entry(
		__field(pid_t, mm)
		__field(int, rc)
		__field(int, target_node)
		__field(u32, pages)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->rc = rc;
		__entry->target_node = target_node;
		__entry->pages = pages;
	),
	TP_printk("mm=%d rc=%d target_node=%d pages=%u", __entry->mm, __entry->rc,
		  __entry->target_node, __entry->pages)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
