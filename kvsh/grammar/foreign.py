"""Words of Redis, etcd and other shells, and their replacements: the one table, for messages and for HELP WORDS.

Each text completes the sentence "use ...". Pure.
"""

from collections.abc import Mapping

KEYS_OF_A_PREFIX = "a key for each item, all with one prefix (a value is bytes: kvd has no {})"
CHANNELS = "WATCH prefix... and SET (kvd has no channels: a change of a key is the message)"
DAEMON = "the options and signals of the daemon: see kvd(8)"

TABLE: dict[str, dict[str, str]] = {
    "redis": {
        "GETDEL": "TAKE key",
        "DEL DELETE UNLINK": "CLEAR key...",
        "KEYS": "SCAN prefix (a page, in order), or `kvsh --scan=prefix` (all)",
        "DBSIZE": "COUNT",
        "FLUSHALL FLUSHDB": 'CLEARPREFIX ""',
        "MGET": "MULTIGET key...",
        "MSET MSETNX": "MULTISET key value... (all or nothing with a condition: BEGIN IF key 0)",
        "SETNX": "SET key value NX",
        "SETEX": "SET key value EX seconds",
        "PSETEX": "SET key value PX ms",
        "GETSET": "SET key value PREVIOUS",
        "DECR": "INCR key -1",
        "INCRBY": "INCR key by",
        "DECRBY": "INCR key -by",
        "INCRBYFLOAT": "GET, and SET key value REVISION n (INCR adds integers only)",
        "PEXPIRE": "EXPIRE key seconds (a fraction is allowed)",
        "EXPIREAT PEXPIREAT": "SET key value AT unix-ms",
        "PTTL": "TTL key",
        "EXPIRETIME PEXPIRETIME OBJECT TYPE": "ENTRY key",
        "RENAME RENAMENX COPY": "GET, then BEGIN IF key revision, SET, CLEAR, COMMIT",
        "TOUCH": "EXISTS key...",
        "RANDOMKEY": "SCAN LIMIT 1",
        "SUBSTR": "GETRANGE key start end",
        "SETRANGE SETBIT BITFIELD BITOP": "GET, and SET key value REVISION n (a value is written whole)",
        "GETBIT BITCOUNT BITPOS PFADD PFCOUNT GEOADD SORT LCS": "GET, and a program behind | (kvd adds integers only)",
        "TIME": "INFO server",
        "WAIT WAITAOF": "no command (with --fsync always, each write is on the disk)",
        "DELEX DELIFEQ": "CLEAR key REVISION n",
        "MULTI": "BEGIN",
        "EXEC": "COMMIT",
        "SUBSCRIBE PSUBSCRIBE SSUBSCRIBE": "WATCH prefix...",
        "UNSUBSCRIBE PUNSUBSCRIBE": "UNWATCH",
        "PUBLISH PUBSUB": CHANNELS,
        "MONITOR": "WATCH (changes), CLIENTS and SLOWLOG",
        "SELECT SWAPDB": "--profile NAME or --local DIR (a daemon has one key space; prefixes divide it)",
        "AUTH ACL HELLO": "--key FILE and --server-key FILE, when kvsh starts",
        "CLIENT": "CLIENTS",
        "COMMAND": "COMMANDS, or HELP",
        "ECHO": "PING message",
        "SAVE BGSAVE LASTSAVE BGREWRITEAOF": "BACKUP name (with --fsync always, each write is on the disk)",
        "DUMP RESTORE MIGRATE": "GET and SET, or `kvd export` and `kvd import`",
        "MEMORY": "INFO process, or `kvsh --bigkeys`",
        "LATENCY": "INFO latency, or `kvsh --latency`",
        "SHUTDOWN DEBUG REPLICAOF SLAVEOF FAILOVER CLUSTER ROLE MODULE": DAEMON,
        "EVAL EVALSHA FCALL SCRIPT FUNCTION": "BEGIN IF key revision ... COMMIT (kvd runs no scripts)",
        "LPUSH RPUSH LPOP RPOP BLPOP BRPOP": KEYS_OF_A_PREFIX.format("lists") + "; TAKEFIRST prefix WAIT ms",
        "LRANGE LLEN LREM LMOVE BLMOVE LINDEX LINSERT LSET LTRIM RPOPLPUSH": KEYS_OF_A_PREFIX.format("lists"),
        "HSET HGET HGETALL HMSET HMGET HDEL HINCRBY HKEYS HLEN HEXISTS": KEYS_OF_A_PREFIX.format("hashes"),
        "HSETNX HVALS HSCAN HINCRBYFLOAT": KEYS_OF_A_PREFIX.format("hashes"),
        "SADD SREM SMEMBERS SISMEMBER SCARD SPOP": KEYS_OF_A_PREFIX.format("sets"),
        "SMOVE SINTER SUNION SDIFF SSCAN SRANDMEMBER": KEYS_OF_A_PREFIX.format("sets"),
        "ZADD ZRANGE ZREM ZSCORE ZRANK ZCARD ZINCRBY": KEYS_OF_A_PREFIX.format("sorted sets"),
        "ZCOUNT ZPOPMIN ZPOPMAX ZREVRANGE ZRANGEBYSCORE ZSCAN": KEYS_OF_A_PREFIX.format("sorted sets"),
        "XADD XREAD XRANGE XLEN XGROUP XREADGROUP": "CHANGES since prefix WAIT ms (the journal of all changes)",
        "XACK XDEL XTRIM XINFO XPENDING": "CHANGES since prefix WAIT ms, and COMPACT revision",
    },
    "etcd": {
        "PUT": "SET key value",
        "TXN": "BEGIN IF key revision ... COMMIT",
        "LEASE GRANT KEEP-ALIVE REVOKE TIMETOLIVE": "SET key value EX seconds, EXPIRE key seconds and TTL key",
        "LOCK ELECT": "SET key value NX EX seconds (Python: kv.lock)",
        "COMPACTION": "COMPACT revision",
        "SNAPSHOT": "BACKUP name, and `kvd restore`",
        "DEFRAG": "no command (kvd folds its files automatically)",
        "ENDPOINT STATUS HEALTH": "INFO, or PING",
        "MEMBER MOVE-LEADER ALARM": DAEMON,
        "USER USERADD": "the access file of the daemon: see kvd(8)",
    },
    "others": {
        "RM REMOVE PURGE ERASE": "CLEAR key...",
        "LS LIST DIR": "SCAN prefix",
        "CREATE ADD": "SET key value NX",
        "UPDATE REPLACE": "SET key value XX, or REVISION n",
        "INSERT STORE WRITE": "SET key value",
        "CAT READ FETCH": "GET key",
        "VERSION": "INFO server, or `kvsh --version`",
        "USE CONNECT OPEN \\C": "--url, --profile or --local, when kvsh starts",
        "ROLLBACK ABORT": "DISCARD",
        "START": "BEGIN",
        "CLS RESET \\!": "CLEAR-SCREEN",
        "? \\? \\H .HELP MAN USAGE": "HELP",
        "\\Q :Q :Q! Q BYE LOGOUT .QUIT .EXIT": "QUIT",
        "\\TIMING": "TIMING ON",
        "\\WATCH REPEAT": "EVERY seconds command",
        "\\I .READ LOAD": "SOURCE file",
        "\\X \\G": "FORMAT PRETTY",
        "\\D \\DT .TABLES SHOW DESCRIBE": "SCAN, COUNT and INFO",
    },
}

# Options of Redis and etcd that follow a command.
OPTIONS = {
    "MATCH": "SCAN prefix",
    "COUNT": "LIMIT n",
    "GET": "PREVIOUS",
    "EXAT PXAT": "AT unix-ms",
    "--PREFIX": "SCAN prefix VALUES, COUNT prefix, CLEARPREFIX prefix or WATCH prefix",
    "--FROM-KEY": "SCAN FROM key",
    "--LIMIT": "LIMIT n",
    "--REV": "SINCE revision (a read is always of now)",
    "--LEASE --TTL": "EX seconds",
    "--KEYS-ONLY": "SCAN prefix",
    "--PREV-KV": "PREVIOUS",
}


def words() -> Mapping[str, str]:
    """Return the replacements by foreign word in upper case."""
    return {word: ours for table in TABLE.values() for names, ours in table.items() for word in names.split()}


def option_for(name: bytes) -> str | None:
    """Return the replacement of a foreign option, or None."""
    options = {word: ours for names, ours in OPTIONS.items() for word in names.split()}
    return options.get(name.decode(errors="replace").upper())


def ours_for(name: bytes) -> str | None:
    """Return the replacement of a foreign word, or None."""
    return words().get(name.decode(errors="replace").upper())
