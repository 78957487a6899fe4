"""What several proxies must know of each other, in the Redis that they share: without one, nothing of this is made.

limits.py    what each key has used of its minute, and what it has under way
pool.py      what upstream said of the accounts, and where conversations are at home (board.py, facts.py: how news get about)
turns.py     what was said, for requests that go on from it on another proxy; sealed
presence.py  which proxies are there: what belongs to one that died is free when its lease is over
line.py      the way to Redis, and what it means that Redis is away
replicas.py  the addon: beats, exchanges news, says goodbye

Each question is one script (lua/) and one round trip, and Redis' own clock is the only one that it goes by. All keys stand in the
scripts' KEYS and have one hash tag, as a cluster wants it.

Redis away: nothing waits for it but the first who notice. Limits are counted by each proxy alone, and their answers say so. The
pool goes on with what it knows. Turns in memory are good, of others it is said that nobody can know.
"""
