/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
@PROVENANCE@
 */
#ifndef TIERD_SETTINGS_H
#define TIERD_SETTINGS_H

/* Tunables: least and greatest value, and the one that is in force when the module is loaded. */
@TUNABLES@

/* How the daemon is made. */
#define TIERD_INITIAL_DELAY_MS @INITIAL_DELAY_MS@ /* from registration to first chunk */
#define TIERD_SCAN_SLEEP_MS @SCAN_SLEEP_MS@ /* the scanner looks for a due process this often */
#define TIERD_MMS_TO_SCAN @MMS_TO_SCAN@ /* visits of processes between two sleeps */
#define TIERD_MIGRATE_SLEEP_MS @MIGRATE_SLEEP_MS@ /* between two drains of the list */
#define TIERD_THROTTLE_WINDOW_MS @THROTTLE_WINDOW_MS@ /* has its budget */

/* The kernel's rule for period and size. */
#define TIERD_DECAY_SHIFT @DECAY_SHIFT@
#define TIERD_IGNORE_THRESHOLD_PAGES @IGNORE_THRESHOLD_PAGES@
#define TIERD_PERIOD_STEP_PERCENT @PERIOD_STEP_PERCENT@
#define TIERD_PERIOD_JUMP_SHIFT @PERIOD_JUMP_SHIFT@
#define TIERD_PASSES_WITHOUT_HITS @PASSES_WITHOUT_HITS@ /* resets; one window */

/* Memory of list and marks together, at the start. */
#define TIERD_STATE_BYTES_MAX (256ULL << 20)

/* Policy. */
#define TIERD_HAS_POLICY @HAS_POLICY@ /* whether a learned one was exported with it */
#define TIERD_POLICY_START @POLICY_START@
#define TIERD_POLICY_NAME "@POLICY_NAME@"
#define TIERD_CONTROL_INTERVAL_MS @CONTROL_INTERVAL_MS@

#endif
