"""Every limit of kvd, with the unit last in its name. This file imports nothing.

A request beyond a limit gets a clear error (`TOO_LARGE`, `BUSY`), never a silent cut. tests/test_limits.py asserts the
relations between limits.
"""

KIB = 1024
MIB = 1024 * KIB

# One command. Keys are held in memory for the overlay and the cache and are sent as topics, so they are short. A
# value has to fit into one ZeroMQ frame and one SQLite row.
KEY_BYTES_MAX = 4 * KIB
VALUE_BYTES_MAX = 16 * MIB
KEYS_MAX = 10_000
TRANSACTION_COMMANDS_MAX = 10_000
TOKEN_BYTES_MAX = 64
COMMAND_BYTES_MAX = 32 * MIB
# libzmq drops the connection of a client that sends a larger frame. Between COMMAND_BYTES_MAX and this a client still
# gets TOO_LARGE.
FRAME_BYTES_MAX = 36 * MIB
ENVELOPE_FRAMES_MAX = 8
PING_BYTES_MAX = 64 * KIB
TTL_MS_MAX = 100 * 366 * 24 * 3600 * 1000
TIME_MS_MAX = 2**48
INTEGER_MAX = 2**63 - 1

# One reply, and the work of one command while all others wait.
REPLY_BYTES_MAX = 32 * MIB
SCAN_LIMIT_DEFAULT = 100
SCAN_LIMIT_MAX = 10_000
CHANGES_LIMIT_DEFAULT = 1_000
CHANGES_LIMIT_MAX = 10_000
CHANGES_ROWS_MAX = 100_000
HISTORY_LIMIT_DEFAULT = 100
HISTORY_LIMIT_MAX = 1_000
HISTORY_ROWS_MAX = 10_000  # searched for one reply; 100,000 on separate pages took 3 to 4 s on a cold disk
CLEARED_KEYS_MAX = 100_000
WAIT_MS_MAX = 60_000
FLOORS_MAX = 64
DELIVERIES_PER_TURN_MAX = 16  # keys given to waiting clients, each with its own commit

# One batch of the loop, and the queues it holds for clients.
BATCH_COMMANDS_MAX = 1_000
BATCH_BYTES_MAX = 16 * MIB
BATCH_MS_MAX = 50
# The changes staged at once (each counts ENTRY_OVERHEAD_BYTES more): a batch is committed at BATCH_BYTES_MAX, so one
# command may stage the rest.
STAGED_BYTES_MAX = 64 * MIB
REPLY_QUEUE_MAX = 10_000
PUBLISH_QUEUE_MAX = 20_000
WAITERS_MAX = 1_000
# Connections use at most half of the descriptors: libzmq ends the process when it has none left, and it accepts more
# until the loop has read the events of its monitor, a thousand more at worst.
CONNECTIONS_MAX = 10_000
DESCRIPTORS_MIN = 64  # about half of them are in use before the first client connects
HANDSHAKE_MS_MAX = 5_000
REFUSALS_LOGGED_MAX = 10
REFUSALS_LOGGED_INTERVAL_MS = 60_000
STOP_DRAIN_MS = 1_000
STOP_GRACE_MS = 100

# The memory of the process above which large replies are refused and watchers disconnected. A load within the other
# limits stays below a third.
MEMORY_PRESSURE_BYTES = 1024 * MIB
MEMORY_CHECK_MS = 100
MEMORY_TRIM_MS = 2_000  # it takes some ms
MEMORY_CHECK_BYTES = 16 * MIB
PRESSURE_REPLY_BYTES = 4 * KIB

# ONCE: how long a token is stored, and how many at most.
ONCE_KEPT_MS = 120_000
ONCE_TOKENS_MAX = 1_000_000

# CHECK and BACKUP run in the background; a client waits this long for their replies.
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
# Sweeps delete expired keys. A sweep takes about EXPIRY_SWEEP_US of processor time, or half as long as its commit waits
# for the disk, up to EXPIRY_SWEEP_US_MAX. Between two sweeps the loop serves clients for as long. When sweeps have been
# behind for EXPIRY_LATE_MS, they take EXPIRY_LATE_SWEEPS times as long.
EXPIRY_SWEEP_US = 300
EXPIRY_SWEEP_US_MAX = 3_000
EXPIRY_SWEEP_KEYS_MIN = 10
EXPIRY_SWEEP_KEYS_MAX = 2_000
EXPIRY_LATE_MS = 30_000
EXPIRY_LATE_SWEEPS = 10
FSYNC_INTERVAL_MS = 100
BUSY_TIMEOUT_MS = 5_000
CHECKPOINT_WAIT_MS = 100

# Storage. The overlay holds the changes that are not folded yet. From half of OVERLAY_*_MAX on, writers wait for the
# fold.
FOLD_CHANGES = 150_000
FOLD_BYTES = 32 * MIB
FOLD_AGE_MS = 5_000
TABLE_CHECKPOINT_CHANGES = 400_000
TABLE_WAL_BYTES_MAX = 50 * MIB  # some chunks more when readers delay a checkpoint
FOLD_CHUNK_BYTES = 8 * MIB
OVERLAY_CHANGES_MAX = 400_000
OVERLAY_BYTES_MAX = 96 * MIB
MEMORY_BYTES_MAX = 160 * MIB  # the overlay, and the cache in the rest
ENTRY_OVERHEAD_BYTES = 300
JOURNAL_KEPT_CHANGES = 1_000_000
JOURNAL_KEPT_BYTES = 1024 * MIB
TRIMMED_PER_COMMIT_MAX = 250  # 0.3 ms
TRIMMED_PER_IDLE_COMMIT_MAX = 2_000
TRIM_INTERVAL_MS = 100
TRIMMED_BYTES_PER_COMMIT = 8 * MIB
# Disk space reserved for CLEAR and COMPACT: BALLAST_BYTES, or 1/BALLAST_PARTS of a small disk.
BALLAST_BYTES = 16 * MIB
BALLAST_PARTS = 16
WAL_PARTS = 8  # the journal's WAL is presized to at most 1/WAL_PARTS of the free space
WAL_PRESIZED_BYTES = 32 * MIB
WAL_CHECKPOINT_BYTES = 16 * MIB
WAL_BYTES_MAX = 32 * MIB  # and one batch more, in pages that may be half empty
WAL_CHECK_BYTES = MIB

# The client's side.
TIMEOUT_MS = 5_000
IN_FLIGHT_MAX = 1_000
# The keys of one request of a walk. Measured with 50 concurrent GETs: 374 k keys/s, and their p99 rises from 1.0 to
# 1.7 ms; SCAN_LIMIT_MAX would make it 16 ms.
WALK_KEYS = 400
SUBSCRIBER_DEAD_MS = 3 * HEARTBEAT_MS
RECONNECT_MS = 50
RECONNECT_MS_MAX = 1_000
POLL_WAIT_MS = 20_000
UNCONFIRMED_CHANGES_MAX = 10_000
WATCHED_MAX = 2_000
WATCHED_BYTES_MAX = 4 * MIB

# The HTTP gateway: the size of a request, and the time to receive it.
HTTP_HEADER_BYTES_MAX = 64 * KIB
HTTP_HEADER_MS = 10_000
HTTP_BODY_MS = 30_000
HTTP_BODIES_BYTES_MAX = 512 * MIB  # bodies and the commands made from them, until they are answered
HTTP_JSON_BYTES_MAX = 24 * MIB  # a value of VALUE_BYTES_MAX in base64 is 22 MiB
HTTP_JSON_VALUES_MAX = 250_000  # 8 MULTISETs of KEYS_MAX; decoding them blocks the gateway for 50 ms
HTTP_QUERY_FIELDS_MAX = 64
HTTP_UNSENT_BYTES_MAX = 256 * MIB  # answers that clients have not read; it may be exceeded for a second
HTTP_SILENT_MS = 30_000
HTTP_WEBSOCKET_BYTES_MAX = 64 * KIB  # messages from watchers are ignored
HTTP_IDLE_MS = 75_000
HTTP_CONNECTIONS_MAX = 2_000
HTTP_WATCHERS_MAX = 500
HTTP_DRAIN_MS = 5_000
HTTP_LAST_MS = 500  # for a request in transit when the gateway stops, or for a client to read the reason
HTTP_LAST_BYTES_MAX = MIB  # the bytes such a client may still send
WATCH_HEARTBEAT_MS = 15_000
HTTP_LARGE_BYTES = 256 * KIB  # larger values are encoded as JSON in a thread: 16 MiB take 0.1 s
HTTP_CHANGE_CACHE_MS = 10_000  # how long a large change is cached as JSON for slower watchers
HTTP_CHANGE_CACHE_BYTES_MAX = 64 * MIB  # of cached changes, in addition to those being sent

# All gateways, for malloc: blocks from this size on are mapped separately, and this much free heap is kept.
GATEWAY_BLOCK_BYTES = MIB
GATEWAY_TRIM_BYTES = 16 * MIB

# TCP: the limits of all connections together (requests: IN_FLIGHT_MAX), then those of one. A reply counts from when its
# request is sent until the client has read it, with the size of the connection's largest reply so far.
TCP_CONNECTIONS_MAX = 1_000
TCP_LINGERING_MAX = 100  # connections beyond TCP_CONNECTIONS_MAX
TCP_VALUES_BYTES_MAX = 64 * MIB
TCP_STRINGS_BYTES_MAX = 256 * MIB  # strings still being received that are longer than TCP_LARGE_BYTES
TCP_LARGE_BYTES = 256 * KIB
TCP_REPLIES_BYTES_MAX = 256 * MIB
TCP_CONNECTION_REQUESTS_MAX = 64
TCP_CONNECTION_VALUES_BYTES_MAX = MIB
TCP_CONNECTION_REPLIES_BYTES_MAX = 8 * MIB
TCP_SILENCE_MS = 30_000  # within a request, or while replies are unread
TCP_LINGER_MS = 1_000
TCP_DRAIN_MS = 5_000

# NATS: the changes published before the server has to confirm them.
NATS_CHUNK_CHANGES = 500
NATS_CHUNK_BYTES = 512 * KIB

# gRPC: concurrent calls, including Watch, in all and per connection (more wait at the client). Messages have some
# overhead. Heartbeats find clients that vanished; a client that pings too often is disconnected.
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
