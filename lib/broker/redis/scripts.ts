/**
 * The atomic steps on a log in Redis. A channel's keys share one hash tag, so each script touches one slot:
 *
 *   <prefix>{<channel>}        pub/sub channel
 *   <prefix>{<channel>}:m      meta hash: e = epoch, o = offset of the last entry, r = replication id (see below)
 *   <prefix>{<channel>}:s      stream, an entry for each call that published; see payload.ts
 *   <prefix>{<channel>}:i:…    position published under an idempotency key
 *
 * Two entries must never share an `<epoch>-<offset>`. After a failover to a replica that lagged, or a restart that lost
 * the last writes, the offset goes back while the epoch stays. Both change the server's `master_replid`; so it is kept
 * in the meta hash, and a log that was written under another one goes on under a new epoch. The caller passes the id it
 * knows; only where it differs is the server asked, so that a caller with an old id does no harm.
 */
import type { Redis } from 'ioredis'

/** Sets e, o: the log as it may be used, made or replaced where necessary. ARGV 1–4 are the same in all scripts. */
const OPEN_LOG = `
local replid = ARGV[2]
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 'r')
local e, o = meta[1], tonumber(meta[2])
if e and replid ~= '' and meta[3] ~= replid then
  local info = redis.pcall('INFO', 'replication')
  if type(info) == 'string' then replid = string.match(info, 'master_replid:(%w+)') or replid end
  if meta[3] ~= replid then e = false end
end
if e and (not o or (e == ARGV[3] and o < tonumber(ARGV[4]))) then e = false end
if not e then
  e, o = ARGV[1], 0
  redis.call('HSET', KEYS[1], 'e', e, 'o', 0, 'r', replid)
  redis.call('DEL', KEYS[2])
end
`

/**
 * KEYS meta, stream · ARGV epoch if one is needed, replication id, epoch and offset the caller has seen, meta TTL in ms.
 * Returns epoch, offset, replication id.
 */
const OPEN = `${OPEN_LOG}
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {e, string.format('%d', o), replid}
`

/**
 * KEYS meta, stream, idempotency key · ARGV as OPEN, then 6 pub/sub channel, 7 attempt, 8 whether an earlier try of this
 * attempt may have run, 9 history size, 10 history TTL, 11 idempotency TTL or 0, 12 how many events enter the log, 13 payload,
 * 14 the payload to keep where that is another one, else ''. A key from before the log was replaced does not count: what
 * it published went with that log. The cost does not depend on the number of events.
 * Returns epoch, offset of the last event, replication id.
 */
const PUBLISH = `${OPEN_LOG}
if ARGV[11] ~= '0' then
  local earlier = redis.call('GET', KEYS[3])
  if earlier then
    local ee, eo = string.match(earlier, '^(%w+)-(%d+)$')
    if ee == e then return {ee, eo, replid} end
  end
end
if ARGV[8] == '1' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
    if entry[2][4] == ARGV[7] then return {e, string.match(entry[1], '^%d+'), replid} end
  end
end
local first, size = string.format('%d', o + 1), tonumber(ARGV[9])
local last = o + tonumber(ARGV[12])
local oldest = string.format('%d', math.max(0, last - size + 1))
last = string.format('%d', last)
if size > 0 then
  local kept = ARGV[14] == '' and ARGV[13] or ARGV[14]
  redis.call('XADD', KEYS[2], 'MINID', '~', oldest, last .. '-0', 'p', kept, 'i', ARGV[7])
  redis.call('PEXPIRE', KEYS[2], ARGV[10])
end
redis.call('HSET', KEYS[1], 'o', last)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if ARGV[11] ~= '0' then redis.call('SET', KEYS[3], e .. '-' .. last, 'PX', ARGV[11]) end
redis.call('PUBLISH', ARGV[6], e .. ' ' .. first .. '\\n' .. ARGV[13])
return {e, last, replid}
`

/**
 * KEYS meta, stream · ARGV offset to read after, how many events at most. Entries hold one event or many, so more and more
 * are read until there are enough. Returns epoch or nil, offset, entries: one moment's view.
 */
const READ = `
local meta = redis.call('HMGET', KEYS[1], 'e', 'o')
local entries, count, last = {}, 1, tonumber(ARGV[1])
local wanted = last + tonumber(ARGV[2])
local page
repeat
  page = redis.call('XRANGE', KEYS[2], string.format('%d', last + 1), '+', 'COUNT', count)
  for _, entry in ipairs(page) do
    entries[#entries + 1] = entry
    last = tonumber(string.match(entry[1], '^%d+'))
  end
  local enough = last >= wanted or #page < count
  count = count * 2
until enough
return {meta[1], meta[2], entries}
`

type Arg = string | number | Buffer

/** The head as OPEN and PUBLISH answer it. */
export type ScriptHead = readonly [epoch: string, offset: string, replicationId: string]
/** READ's answer, with binary frames. */
type ScriptPage = readonly [
  epoch: Buffer | null,
  offset: Buffer | null,
  entries: readonly (readonly [id: Buffer, fields: readonly Buffer[]])[],
]

export interface Scripts {
  sseOpen(meta: string, stream: string, ...args: Arg[]): Promise<ScriptHead>
  ssePublish(meta: string, stream: string, idempotency: string, ...args: Arg[]): Promise<ScriptHead>
  sseReadBuffer(meta: string, stream: string, ...args: Arg[]): Promise<ScriptPage>
}

/** Adds the scripts to a connection: sent by hash, and once in full where Redis does not know them (any more). */
export function withScripts(client: Redis): Redis & Scripts {
  client.defineCommand('sseOpen', { numberOfKeys: 2, lua: OPEN })
  client.defineCommand('ssePublish', { numberOfKeys: 3, lua: PUBLISH })
  client.defineCommand('sseRead', { numberOfKeys: 2, lua: READ })
  return client as Redis & Scripts
}
