"""The relations between limits: a change of one limit that breaks another fails here, with the reason."""

import pytest

from kvd import limits

RELATIONS = [
    ("KEY_BYTES_MAX + VALUE_BYTES_MAX < COMMAND_BYTES_MAX", "the largest SET fits into a command"),
    ("COMMAND_BYTES_MAX < FRAME_BYTES_MAX", "a client that sends too much gets TOO_LARGE, not a broken connection"),
    ("VALUE_BYTES_MAX <= REPLY_BYTES_MAX", "the reply to a GET holds every value"),
    ("BATCH_BYTES_MAX + COMMAND_BYTES_MAX <= STAGED_BYTES_MAX", "a full batch leaves room for one more command"),
    ("KEYS_MAX * ENTRY_OVERHEAD_BYTES + COMMAND_BYTES_MAX <= STAGED_BYTES_MAX", "the largest MULTISET can be staged"),
    ("CLEARED_KEYS_MAX * ENTRY_OVERHEAD_BYTES <= STAGED_BYTES_MAX", "a CLEARPREFIX of short keys can be staged"),
    ("STAGED_BYTES_MAX <= OVERLAY_BYTES_MAX", "the largest commit fits into the overlay"),
    ("OVERLAY_BYTES_MAX < MEMORY_BYTES_MAX", "the overlay leaves memory for the cache"),
    ("FOLD_BYTES < OVERLAY_BYTES_MAX // 2", "a fold begins before writers wait for it"),
    ("FOLD_CHANGES < OVERLAY_CHANGES_MAX // 2", "a fold begins before writers wait for it"),
    ("FOLD_CHUNK_BYTES * 2 <= TABLE_WAL_BYTES_MAX", "the table's WAL holds several chunks of a fold"),
    ("WAL_CHECKPOINT_BYTES <= WAL_PRESIZED_BYTES <= WAL_BYTES_MAX", "a checkpoint comes before the WAL grows"),
    ("MEMORY_BYTES_MAX + 3 * REPLY_BYTES_MAX < MEMORY_PRESSURE_BYTES // 2", "a legal load is not memory pressure"),
    ("PRESSURE_REPLY_BYTES * REPLY_QUEUE_MAX < MEMORY_PRESSURE_BYTES", "small replies cannot use up the memory"),
    ("OVERLAY_CHANGES_MAX <= JOURNAL_KEPT_CHANGES", "the journal keeps the changes that are not folded"),
    ("OVERLAY_BYTES_MAX <= JOURNAL_KEPT_BYTES", "the journal keeps the changes that are not folded"),
    ("TRIMMED_PER_COMMIT_MAX <= TRIMMED_PER_IDLE_COMMIT_MAX", "an idle store trims at least as much"),
    ("2 * HEARTBEAT_MS < SUBSCRIBER_DEAD_MS", "one lost heartbeat does not end a watch"),
    ("SUBSCRIBER_DEAD_MS < SILENT_CLIENT_MS", "a watcher notices a dead connection before the daemon drops it"),
    ("TIMEOUT_MS < ONCE_KEPT_MS // 2", "a token outlives the retries of a write"),
    ("WAIT_MS_MAX < ONCE_KEPT_MS", "a token outlives a TAKEFIRST that waits"),
    ("EXPIRY_SWEEP_US <= EXPIRY_SWEEP_US_MAX", "the pace of sweeps has a range"),
    ("EXPIRY_SWEEP_KEYS_MIN <= EXPIRY_SWEEP_KEYS_MAX <= CLEARED_KEYS_MAX", "the pace of sweeps has a range"),
    (
        "EXPIRY_SWEEP_US_MAX * EXPIRY_LATE_SWEEPS <= BATCH_MS_MAX * 1000",
        "a late sweep delays clients no more than a batch",
    ),
    ("FSYNC_INTERVAL_MS <= EXPIRY_INTERVAL_MS", "the loop wakes up in time for an fsync"),
    ("EXPIRY_INTERVAL_MS < HEARTBEAT_MS", "the loop wakes up in time for a heartbeat"),
    ("SCAN_LIMIT_DEFAULT <= SCAN_LIMIT_MAX", "a default is allowed"),
    ("CHANGES_LIMIT_DEFAULT <= CHANGES_LIMIT_MAX <= CHANGES_ROWS_MAX", "a default is allowed"),
    ("HISTORY_LIMIT_DEFAULT <= HISTORY_LIMIT_MAX <= HISTORY_ROWS_MAX", "a default is allowed"),
    ("SLOW_LISTED <= SLOW_KEPT <= SLOW_LISTED_MAX", "a default is allowed"),
    ("WALK_KEYS <= SCAN_LIMIT_MAX", "a walk's request is allowed"),
    ("UNCONFIRMED_CHANGES_MAX <= PUBLISH_QUEUE_MAX", "a watcher holds no more than its queue"),
    ("DESCRIPTORS_MIN <= CONNECTIONS_MAX", "the smallest process is below the limit of connections"),
    ("IN_FLIGHT_MAX < REPLY_QUEUE_MAX", "a client's replies fit into its queue"),
    ("VALUE_BYTES_MAX * 4 // 3 < HTTP_JSON_BYTES_MAX", "the largest value fits into JSON as base64"),
    ("COMMAND_BYTES_MAX <= HTTP_BODIES_BYTES_MAX", "one body is allowed"),
    ("VALUE_BYTES_MAX <= TCP_VALUES_BYTES_MAX", "one value is allowed"),
    ("TCP_CONNECTION_REPLIES_BYTES_MAX <= TCP_REPLIES_BYTES_MAX", "a connection's limit is within that of all"),
    ("TCP_CONNECTION_VALUES_BYTES_MAX <= TCP_VALUES_BYTES_MAX", "a connection's limit is within that of all"),
    ("GRPC_CONNECTION_CALLS_MAX <= GRPC_CALLS_MAX", "a connection's limit is within that of all"),
    ("GRPC_WATCHES_MAX + GRPC_HEALTH_WATCHES_MAX < GRPC_CALLS_MAX", "watches leave calls for commands"),
    ("GRPC_PING_MS_MIN < GRPC_HEARTBEAT_MS", "a client may ping more often than the server"),
]


@pytest.mark.parametrize(("relation", "reason"), RELATIONS)
def test_limits_fit_together(relation, reason):
    assert eval(relation, vars(limits).copy()), f"{reason}: {relation}"  # our own text


def test_a_limit_is_a_positive_whole_number():
    values = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert all(type(value) is int and value > 0 for value in values.values())
