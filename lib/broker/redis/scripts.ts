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
export type ScriptHead = readonly [epoch: string, offset: string, earlier: string]
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
export function withScripts(client: RedisClient): RedisClient & Scripts {
  client.defineCommand('sseOpen', { numberOfKeys: 2, lua: OPEN })
  const publish = client instanceof Cluster ? 'SPUBLISH' : 'PUBLISH'
  client.defineCommand('ssePublish', { numberOfKeys: 3, lua: publishScript(publish) })
  client.defineCommand('sseRead', { numberOfKeys: 2, lua: READ })
  return client as RedisClient & Scripts
}
