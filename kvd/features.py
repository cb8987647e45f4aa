"""The additions to version 1 of the wire since its first release: each feature, with the release that added it.

INFO returns the names (`server.features`). A feature is named after its command, or after command and argument. The
same table with explanations is in docs/protocol.md and kvd-protocol(7). Entries are never changed; `make generate`
adds new ones at the end. This file imports nothing.
"""

# The commands of the first release.
FIRST_RELEASE = (
    "GET SET CLEAR MULTIGET MULTISET TAKE INCR APPEND EXISTS ENTRY SCAN COUNT CLEARPREFIX EXPIRE PERSIST TTL "
    "TRANSACTION ONCE CHANGES COMPACT PING INFO COMMANDS CONFIG CHECK BACKUP SLOWLOG CLIENTS"
)

FEATURES = {
    "CLEAR.revision": "0.1.0",
    "TAKE.revision": "0.1.0",
    "EXPIRE.revision": "0.1.0",
    "PERSIST.revision": "0.1.0",
    "MULTISET.ttl": "0.1.0",
    "MULTISET.at": "0.1.0",
    "SCAN.start": "0.1.0",
    "SCAN.stop": "0.1.0",
    "SCAN.reverse": "0.1.0",
    "GETEX": "0.1.0",
    "TAKEFIRST": "0.1.0",
    "GETRANGE": "0.1.0",
    "STRLEN": "0.1.0",
    "ENTRY.start": "0.1.0",
    "ENTRY.end": "0.1.0",
    "SCAN.sizes": "0.1.0",
    "HISTORY": "0.1.0",
    "features": "0.1.0",
    "strings": "0.1.0",
}
