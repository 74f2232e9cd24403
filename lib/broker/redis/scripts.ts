/**
 * The atomic steps on a log in Redis. A channel's keys share one hash tag, so each script touches one slot:
 *
 *   <prefix>{<channel>}        pub/sub channel
 *   <prefix>{<channel>}:m      meta hash: e = epoch, o = offset of the last entry, r = replication id, p = former lives
 *   <prefix>{<channel>}:s      stream, an entry for each call that published; see payload.ts
 *   <prefix>{<channel>}:i:…    position published under an idempotency key
 *
 * Two entries must never share an `<epoch>-<offset>`. After a failover to a replica that lagged, or a restart that lost
 * the last writes, the offset goes back while the epoch stays. Both change the server's `master_replid`, and so does a
 * slot that moves in a cluster; so it is kept in the meta hash, and a log that was written under another one goes on
 * under a new epoch. What the server has of it is what it was, for Redis loses only the end: who was not beyond that
 * reads on. Asking the server in each call costs it some 4 us, and no caller can have an id that is out of date.
 */
import { Cluster } from 'ioredis'
import type { RedisClient } from '../../redis/connect.js'

/** Former lives kept of a log. A cursor from before them is one of a log that is gone. */
const MAX_LIVES = 8
/** Entries that READ reads at a time: at most so many are read in vain because they turn out to be large. */
const READ_STEP = 16

/** Sets e, o, earlier: the log as it may be used, made or continued where necessary. ARGV 1–3 are the same in all scripts. */
const OPEN_LOG = `
local info = redis.pcall('INFO', 'replication')
local replid = type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 'r', 'p')
local e, o, earlier = meta[1], tonumber(meta[2]), meta[4] or ''
local other = replid ~= '' and meta[3] ~= replid
if e and (not o or other or (e == ARGV[2] and o < tonumber(ARGV[3]))) then
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if o and not (last and tonumber(string.match(last[1], '^%d+')) > o) then
    local lives = {string.format('%s-%d', e, o)}
    for life in string.gmatch(earlier, '[^.]+') do
      if #lives < ${MAX_LIVES} then lives[#lives + 1] = life end
    end
    e, earlier = ARGV[1], table.concat(lives, '.')
    redis.call('HSET', KEYS[1], 'e', e, 'r', replid, 'p', earlier)
  else
    e = false
  end
end
if not e then
  e, o, earlier = ARGV[1], 0, ''
  redis.call('HSET', KEYS[1], 'e', e, 'o', 0, 'r', replid, 'p', '')
  redis.call('DEL', KEYS[2])
end
`

/**
 * KEYS meta, stream · ARGV epoch if one is needed, epoch and offset the caller has seen, meta TTL in ms.
 * Returns epoch, offset, former lives.
 */
const OPEN = `${OPEN_LOG}
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {e, string.format('%d', o), earlier}
`

/**
 * KEYS meta, stream, idempotency key · ARGV as OPEN, then 5 pub/sub channel, 6 attempt, 7 whether an earlier try of this
 * attempt may have run, 8 history size, 9 history TTL, 10 idempotency TTL or 0, 11 how many events enter the log, 12 payload,
 * 13 the payload to keep where that is another one, else ''. A key whose events the log has lost does not count. The cost
 * does not depend on the number of events.
 * Returns epoch, offset of the last event, former lives.
 */
const publishScript = (publish: 'PUBLISH' | 'SPUBLISH') => `${OPEN_LOG}
if ARGV[10] ~= '0' then
  local known = redis.call('GET', KEYS[3])
  if known then
    local ke, ko = string.match(known, '^(%w+)-(%d+)$')
    local lost = ke ~= e
    for le, lo in string.gmatch(earlier, '(%w+)-(%d+)') do
      if le == ke and tonumber(ko) <= tonumber(lo) then lost = false end
    end
    if not lost then return {e, ko, earlier} end
  end
end
if ARGV[7] == '1' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
    if entry[2][4] == ARGV[6] then return {e, string.match(entry[1], '^%d+'), earlier} end
  end
end
local first, size = string.format('%d', o + 1), tonumber(ARGV[8])
local last = o + tonumber(ARGV[11])
local oldest = string.format('%d', math.max(0, last - size + 1))
last = string.format('%d', last)
if size > 0 then
  local kept = ARGV[13] == '' and ARGV[12] or ARGV[13]
  redis.call('XADD', KEYS[2], 'MINID', '~', oldest, last .. '-0', 'p', kept, 'i', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[9])
end
redis.call('HSET', KEYS[1], 'o', last)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if ARGV[10] ~= '0' then redis.call('SET', KEYS[3], e .. '-' .. last, 'PX', ARGV[10]) end
redis.call('${publish}', ARGV[5], e .. ' ' .. first .. '\\n' .. ARGV[12])
return {e, last, earlier}
`

/**
 * KEYS meta, stream · ARGV 1 offset to read after, 2 how many events at most, 3 how many bytes at most. An entry holds one event
 * or many. How large an entry is shows only when it was read, so a few are read at a time, and what exceeds a bound is not
 * returned: the first entry always is. Returns epoch or nil, offset, the last offset that was looked at, entries: one
 * moment's view.
 */
const READ = `
local meta = redis.call('HMGET', KEYS[1], 'e', 'o')
local entries, bytes, last = {}, 0, tonumber(ARGV[1])
local wanted, budget = last + tonumber(ARGV[2]), tonumber(ARGV[3])
local count, complete, full = 1, false, false
repeat
  local page = redis.call('XRANGE', KEYS[2], string.format('%d', last + 1), '+', 'COUNT', count)
  complete = #page < count
  for _, entry in ipairs(page) do
    local size = #entry[2][2]
    full = #entries > 0 and (last >= wanted or bytes + size > budget)
    if full then break end
    entries[#entries + 1] = entry
    bytes = bytes + size
    last = tonumber(string.match(entry[1], '^%d+'))
  end
  count = math.min(count * 2, ${READ_STEP})
until full or complete or last >= wanted or bytes >= budget
local head = tonumber(meta[2]) or 0
if complete and not full then last = math.max(last, head) end
return {meta[1], meta[2], string.format('%d', last), entries}
`

type Arg = string | number | Buffer

/** The head as OPEN and PUBLISH answer it. */
export type ScriptHead = readonly [epoch: string, offset: string, earlier: string]
/** READ's answer, with binary frames. */
type ScriptPage = readonly [
  epoch: Buffer | null,
  offset: Buffer | null,
  end: Buffer,
  entries: readonly (readonly [id: Buffer, fields: readonly Buffer[]])[],
]

export interface Scripts {
  sseOpen(meta: string, stream: string, ...args: Arg[]): Promise<ScriptHead>
  ssePublish(meta: string, stream: string, idempotency: string, ...args: Arg[]): Promise<ScriptHead>
  sseReadBuffer(meta: string, stream: string, ...args: Arg[]): Promise<ScriptPage>
}

/** Adds the scripts to a connection: sent by hash, and once in full where Redis does not know them (any more). */
export function withScripts(client: RedisClient): RedisClient & Scripts {
  client.defineCommand('sseOpen', { numberOfKeys: 2, lua: OPEN })
  const publish = client instanceof Cluster ? 'SPUBLISH' : 'PUBLISH'
  client.defineCommand('ssePublish', { numberOfKeys: 3, lua: publishScript(publish) })
  client.defineCommand('sseRead', { numberOfKeys: 2, lua: READ })
  return client as RedisClient & Scripts
}
