"""Every bound of kvd, the unit last in its name. This file imports nothing.

What is beyond a bound gets a clear error (`TOO_LARGE`, `BUSY`), never a silent cut.
"""

KIB = 1024
MIB = 1024 * KIB

# What one command may carry. Keys are held in memory for the overlay and the cache and sent as topics,
# so they are short; a value has to fit into one ZeroMQ frame and one SQLite row with room to spare.
KEY_BYTES_MAX = 4 * KIB
VALUE_BYTES_MAX = 16 * MIB
KEYS_MAX = 10_000
TRANSACTION_COMMANDS_MAX = 10_000
TOKEN_BYTES_MAX = 64
COMMAND_BYTES_MAX = 32 * MIB
# libzmq drops the connection of whoever sends a larger frame; between this and COMMAND_BYTES_MAX a
# client still gets the sentence of TOO_LARGE.
FRAME_BYTES_MAX = 36 * MIB
ENVELOPE_FRAMES_MAX = 8
PING_BYTES_MAX = 64 * KIB
TTL_MS_MAX = 100 * 366 * 24 * 3600 * 1000
TIME_MS_MAX = 2**48
INTEGER_MAX = 2**63 - 1

# What one reply may carry, and how much one command may do while all others wait.
REPLY_BYTES_MAX = 32 * MIB
SCAN_LIMIT_DEFAULT = 100
SCAN_LIMIT_MAX = 10_000
CHANGES_LIMIT_DEFAULT = 1_000
CHANGES_LIMIT_MAX = 10_000
CHANGES_ROWS_MAX = 100_000
HISTORY_LIMIT_DEFAULT = 100
HISTORY_LIMIT_MAX = 1_000
HISTORY_ROWS_MAX = 10_000  # searched for one reply: of 100,000, each on a page of its own, a cold disk took 3 to 4 s
CLEARED_KEYS_MAX = 100_000
WAIT_MS_MAX = 60_000
FLOORS_MAX = 64
DELIVERIES_PER_TURN_MAX = 16  # keys to those who wait, each with a commit of its own

# What the loop takes at once before it commits, and what it holds for clients.
BATCH_COMMANDS_MAX = 1_000
BATCH_BYTES_MAX = 16 * MIB
BATCH_MS_MAX = 50
# What may be staged at once (each change counts ENTRY_OVERHEAD_BYTES besides): a batch is committed at
# BATCH_BYTES_MAX, so one command may stage the rest.
STAGED_BYTES_MAX = 64 * MIB
REPLY_QUEUE_MAX = 10_000
PUBLISH_QUEUE_MAX = 20_000
WAITERS_MAX = 1_000
# Who may come in. Of the descriptors at most half are for connections: libzmq accepts on until the loop has read
# that there are too many, some thousand more at worst (the queue of its monitor), and ends the process without any.
CONNECTIONS_MAX = 10_000
DESCRIPTORS_MIN = 64  # about half of them are for files, sockets and threads, before the first client comes
HANDSHAKE_MS_MAX = 5_000
REFUSALS_LOGGED_MAX = 10
REFUSALS_LOGGED_INTERVAL_MS = 60_000
STOP_DRAIN_MS = 1_000
STOP_GRACE_MS = 100

# What the process may take before large replies are refused, and watchers cut off; a legal load stays below a third.
MEMORY_PRESSURE_BYTES = 1024 * MIB
MEMORY_CHECK_MS = 100
MEMORY_TRIM_MS = 2_000  # it takes some ms
MEMORY_CHECK_BYTES = 16 * MIB
PRESSURE_REPLY_BYTES = 4 * KIB

# Retries of a write: its token is remembered this long, and this many at most.
ONCE_KEPT_MS = 120_000
ONCE_TOKENS_MAX = 1_000_000

# CHECK and BACKUP run beside all else; a client waits so long for their replies.
BACKGROUND_MS_MAX = 3_600_000
DAMAGES_REPORTED_MAX = 100

# The slow log.
SLOW_US = 10_000
SLOW_KEPT = 128
SLOW_KEY_BYTES = 128
SLOW_LISTED = 10
SLOW_LISTED_MAX = 10_000

# Time, seen from the daemon.
HEARTBEAT_MS = 1_000
SILENT_CLIENT_MS = 600_000
EXPIRY_INTERVAL_MS = 200
EXPIRY_RETRY_MS = 5_000
# What is due is ended in sweeps. The keys of one take about EXPIRY_SWEEP_US of the processor's time, or half as long as
# the commit waits for the disk, up to EXPIRY_SWEEP_US_MAX. Between two sweeps the loop serves others for as long. When
# that does not suffice for EXPIRY_LATE_MS, sweeps take EXPIRY_LATE_SWEEPS times as long.
EXPIRY_SWEEP_US = 300
EXPIRY_SWEEP_US_MAX = 3_000
EXPIRY_SWEEP_KEYS_MIN = 10
EXPIRY_SWEEP_KEYS_MAX = 2_000
EXPIRY_LATE_MS = 30_000
EXPIRY_LATE_SWEEPS = 10
FSYNC_INTERVAL_MS = 100
BUSY_TIMEOUT_MS = 5_000
CHECKPOINT_WAIT_MS = 100

# Storage. The overlay holds what the fold has not reached yet. From half of OVERLAY_*_MAX on writers wait for it.
FOLD_CHANGES = 150_000
FOLD_BYTES = 32 * MIB
FOLD_AGE_MS = 5_000
TABLE_CHECKPOINT_CHANGES = 400_000
TABLE_WAL_BYTES_MAX = 50 * MIB  # some portions more when readers hold a checkpoint up
FOLD_CHUNK_BYTES = 8 * MIB
OVERLAY_CHANGES_MAX = 400_000
OVERLAY_BYTES_MAX = 96 * MIB
MEMORY_BYTES_MAX = 160 * MIB  # the overlay, and as much cache as it leaves
ENTRY_OVERHEAD_BYTES = 300
JOURNAL_KEPT_CHANGES = 1_000_000
JOURNAL_KEPT_BYTES = 1024 * MIB
TRIMMED_PER_COMMIT_MAX = 250  # 0.3 ms
TRIMMED_PER_IDLE_COMMIT_MAX = 2_000
TRIM_INTERVAL_MS = 100
TRIMMED_BYTES_PER_COMMIT = 8 * MIB
# Kept aside on the disk for CLEAR and COMPACT, but no more than one of so many parts of a small disk.
BALLAST_BYTES = 16 * MIB
BALLAST_PARTS = 16
WAL_PARTS = 8  # the journal's WAL is made no longer than one of so many parts of what is free
WAL_PRESIZED_BYTES = 32 * MIB
WAL_CHECKPOINT_BYTES = 16 * MIB
WAL_BYTES_MAX = 32 * MIB  # and a batch on top, in pages that may be half empty
WAL_CHECK_BYTES = MIB

# The client's side.
TIMEOUT_MS = 5_000
IN_FLIGHT_MAX = 1_000
# What a walk asks for at once: beside 50 GETs under way it takes 374 k keys/s, and their p99 goes from 1.0 to 1.7 ms;
# with SCAN_LIMIT_MAX it would be 16 ms.
WALK_KEYS = 400
SUBSCRIBER_DEAD_MS = 3 * HEARTBEAT_MS
RECONNECT_MS = 50
RECONNECT_MS_MAX = 1_000
POLL_WAIT_MS = 20_000
UNCONFIRMED_CHANGES_MAX = 10_000
WATCHED_MAX = 2_000
WATCHED_BYTES_MAX = 4 * MIB

# The gateways: what a request over HTTP may carry besides its body, and how long it may take to come.
HTTP_HEADER_BYTES_MAX = 64 * KIB
HTTP_HEADER_MS = 10_000
HTTP_BODY_MS = 30_000
HTTP_BODIES_BYTES_MAX = 512 * MIB  # with what they become, until they are answered
HTTP_JSON_BYTES_MAX = 24 * MIB  # a value of VALUE_BYTES_MAX in base64 is 22 MiB
HTTP_JSON_VALUES_MAX = 250_000  # 8 MULTISETs of KEYS_MAX; to decode them takes 50 ms, in which nobody is answered
HTTP_QUERY_FIELDS_MAX = 64
HTTP_UNSENT_BYTES_MAX = 256 * MIB  # answers that clients have not taken; for a second it may be more
HTTP_SILENT_MS = 30_000
HTTP_WEBSOCKET_BYTES_MAX = 64 * KIB  # what a watcher says means nothing
HTTP_IDLE_MS = 75_000
HTTP_CONNECTIONS_MAX = 2_000
HTTP_WATCHERS_MAX = 500
HTTP_DRAIN_MS = 5_000
HTTP_LAST_MS = 500  # for a request that is on its way when the gateway ends, or a client that has to read why it ends
HTTP_LAST_BYTES_MAX = MIB  # what such a client may send meanwhile
WATCH_HEARTBEAT_MS = 15_000
HTTP_LARGE_BYTES = 256 * KIB  # what is larger becomes JSON in a thread: 16 MiB take 0.1 s
HTTP_CHANGE_CACHE_MS = 10_000  # a large change as JSON, for watchers that come to it later
HTTP_CHANGE_CACHE_BYTES_MAX = 64 * MIB  # of them, besides those that are being sent

# All gateways: a block as large as this has memory of its own, given back with it; of the heap's so much is kept free.
GATEWAY_BLOCK_BYTES = MIB
GATEWAY_TRIM_BYTES = 16 * MIB

# TCP: what all connections share (requests: IN_FLIGHT_MAX), then what one may have. Replies count from when their
# request is sent, as large as the connection's have been at most, until the client has taken them.
TCP_CONNECTIONS_MAX = 1_000
TCP_LINGERING_MAX = 100  # of those beyond TCP_CONNECTIONS_MAX
TCP_VALUES_BYTES_MAX = 64 * MIB
TCP_STRINGS_BYTES_MAX = 256 * MIB  # those that are still coming and are longer than TCP_LARGE_BYTES
TCP_LARGE_BYTES = 256 * KIB
TCP_REPLIES_BYTES_MAX = 256 * MIB
TCP_CONNECTION_REQUESTS_MAX = 64
TCP_CONNECTION_VALUES_BYTES_MAX = MIB
TCP_CONNECTION_REPLIES_BYTES_MAX = 8 * MIB
TCP_SILENCE_MS = 30_000  # in the middle of a request, or while replies wait for the client
TCP_LINGER_MS = 1_000
TCP_DRAIN_MS = 5_000

# NATS: what is published before the server is asked whether it has all.
NATS_CHUNK_CHANGES = 500
NATS_CHUNK_BYTES = 512 * KIB

# gRPC: how many calls at once, Watch among them, and how many of a connection (more wait at the client). A command or
# a reply has some bytes more there. A client that is gone without a word is found, one that pings too often shut out.
GRPC_CALLS_MAX = 1_000
GRPC_CONNECTION_CALLS_MAX = 250
GRPC_OVERHEAD_BYTES = 4 * MIB
GRPC_HEARTBEAT_MS = 60_000
GRPC_HEARTBEAT_WAIT_MS = 20_000
GRPC_PING_MS_MIN = 10_000
GRPC_DRAIN_MS = 5_000
GRPC_WATCHES_MAX = 500
GRPC_HEALTH_WATCHES_MAX = 100
GRPC_PREFIXES_MAX = 1_000
# Clients refuse headers of more than 8 KiB together.
GRPC_DETAILS_BYTES_MAX = 4 * KIB
GRPC_MESSAGE_BYTES_MAX = KIB
