"""The number of each command that may stand inside of another: its place in the message `Command`.

A number that was given is kept for ever, for it is what clients send. So it is neither a command's place among the
others, which moves when one is added between them, nor drawn from its name: field numbers up to 15 take one byte,
and a transaction has thousands of them. Who adds a command gives it the next number, and a test says so; who takes
one away leaves its line. The rpcs themselves have no numbers: gRPC knows them by name.
"""

NUMBERS = {
    "GET": 1,
    "SET": 2,
    "CLEAR": 3,
    "MULTIGET": 4,
    "MULTISET": 5,
    "TAKE": 6,
    "INCR": 7,
    "APPEND": 8,
    "EXISTS": 9,
    "ENTRY": 10,
    "EXPIRE": 11,
    "PERSIST": 12,
    "TTL": 13,
    "CLEARPREFIX": 14,
    "TRANSACTION": 15,
    "SCAN": 16,
    "COUNT": 17,
    "GETEX": 18,
    "TAKEFIRST": 19,
    "GETRANGE": 20,
    "STRLEN": 21,
}
