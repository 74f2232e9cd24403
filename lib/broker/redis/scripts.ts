/**
 * The atomic steps on a log in Redis. Owns what one call changes, and that a repeated or undone call changes nothing
 * more. The keys of a channel share one hash tag, so each script touches one slot:
 *
 *   <prefix>{<channel>}        pub/sub channel; in a database other than 0 followed by `@<number>`, because databases
 *                              share pub/sub
 *   <prefix>{<channel>}:m      meta hash: e = epoch, o = offset of the last entry, r = replication id,
 *                              p = earlier lives
 *   <prefix>{<channel>}:s      stream, an entry for each call that published; see payload.ts
 *   <prefix>{<channel>}:a:…    last publication of a process: its number and position
 *   <prefix>{<channel>}:i:…    position published under an idempotency key
 *
 * Two entries must never share an `<epoch>-<offset>`. After a failover to a replica that lagged, or a restart that lost
 * the last writes, the offset is lower while the epoch is unchanged. Both events change the server's `master_replid`;
 * so does a slot that moves in a cluster. The meta hash therefore stores that id, and a log that was written under
 * another id continues under a new epoch. Redis loses only the end of a log, so a reader whose position the log still
 * has can continue. Each call reads the id from INFO, which costs about 4 µs; an id that the caller sends could be out
 * of date.
 */
import { isCluster, type RedisClient } from '../../redis/connect.js'
import { WHOLE } from '../../redis/lua.js'

/** The maximum number of earlier lives that a log keeps. An older cursor counts as one of another log. */
const MAX_LIVES = 8
/** The maximum number of entries that READ reads at a time, and so of entries that it reads and does not return. */
const READ_STEP = 16

/**
 * Sets `e`, `o` and `earlier`: the log's epoch, offset and earlier lives, after it was created or continued under a new
 * epoch if necessary. A log whose meta hash another program has damaged is replaced. ARGV 1 to 3 are the same in all
 * scripts.
 */
const OPEN_LOG = `${WHOLE}
local info = redis.pcall('INFO', 'replication')
local replid = type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 'r', 'p')
local e = meta[1] and #meta[1] <= 16 and string.match(meta[1], '^[a-z0-9]+$')
local o, earlier = whole(meta[2]), string.match(meta[4] or '', '^[a-z0-9.-]*$') or ''
if #earlier > ${MAX_LIVES} * 33 then earlier = '' end
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
 * KEYS meta, stream · ARGV 1 a new epoch, used if one is needed, 2 and 3 epoch and offset that the caller has seen,
 * 4 meta TTL in ms. Returns epoch, offset, earlier lives.
 */
const OPEN = `${OPEN_LOG}
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {e, string.format('%d', o), earlier}
`

/**
 * KEYS meta, stream, last publication of the process, idempotency key · ARGV as OPEN, then 5 pub/sub channel, 6 number
 * of the publication, 7 its TTL, 8 history size, 9 history TTL, 10 idempotency TTL or 0, 11 how many events enter the
 * log, 12 payload, 13 the payload to keep if it differs, otherwise '', 14 the time on Redis's clock after which this
 * attempt has no effect, or 0. The cost does not depend on the number of events.
 *
 * A publication may arrive repeatedly, and late, so each attempt reads the last publication of its process. The same
 * number: another attempt has published it. A higher number: this attempt was delayed, and its process has published
 * more since. In both cases nothing is published. An attempt that arrives after its deadline is refused with `LATE
 * <Redis's time>`, because Redis may have forgotten the last publication by then. An idempotency key has no effect if
 * the log has lost its events.
 *
 * If Redis refuses a command in the middle, the script undoes the earlier ones, so a refused call is neither logged nor
 * delivered. The undo only uses commands that this call has used before, except XDEL and XSETID. Once the event is in no
 * log, nothing may say that it was published, because another attempt would report that. If Redis refuses the undo as
 * well, the offset stays used, and the fifth value is the reason.
 * Returns epoch, offset of the last event, earlier lives, Redis's time in ms.
 */
const publishScript = (publish: 'PUBLISH' | 'SPUBLISH') => `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[14] ~= '0' and now > tonumber(ARGV[14]) then return {err = string.format('LATE %d', now)} end
${OPEN_LOG}
local function isKept(epoch, offset)
  if epoch == e then return tonumber(offset) <= o end
  for le, lo in string.gmatch(earlier, '(%w+)-(%d+)') do
    if le == epoch then return tonumber(offset) <= tonumber(lo) end
  end
  return false
end
local size, last = tonumber(ARGV[8]), o + tonumber(ARGV[11])
local oldest = string.format('%d', math.max(0, last - size + 1))
local former, first = string.format('%d', o), string.format('%d', o + 1)
last = string.format('%d', last)
local position = e .. '-' .. last
local before = redis.call('SET', KEYS[3], ARGV[6] .. ' ' .. position, 'PX', ARGV[7], 'GET')
local sequence, be, bo = string.match(before or '', '^(%d+) (%w+)-(%d+)$')
if whole(sequence) and whole(bo) and whole(sequence) >= tonumber(ARGV[6]) then
  redis.call('SET', KEYS[3], before, 'PX', ARGV[7])
  if isKept(be, bo) then return {e, bo, earlier, now} end
  return {be, bo, '', now}
end
if ARGV[10] ~= '0' then
  local known = redis.call('GET', KEYS[4])
  if known then
    local ke, ko = string.match(known, '^(%w+)-(%d+)$')
    if whole(ko) and isKept(ke, ko) then
      redis.call('SET', KEYS[3], ARGV[6] .. ' ' .. known, 'PX', ARGV[7])
      return {e, ko, earlier, now}
    end
  end
end
local moved, keyed, added = false, false, false
local done, refusal = pcall(function()
  redis.call('HSET', KEYS[1], 'o', last)
  moved = true
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  if ARGV[10] ~= '0' then
    redis.call('SET', KEYS[4], position, 'PX', ARGV[10])
    keyed = true
  end
  if size > 0 then
    local kept = ARGV[13] == '' and ARGV[12] or ARGV[13]
    redis.call('XADD', KEYS[2], 'MINID', '~', oldest, last .. '-0', 'p', kept)
    added = true
    redis.call('PEXPIRE', KEYS[2], ARGV[9])
  end
  redis.call('${publish}', ARGV[5], e .. ' ' .. first .. '\\n' .. ARGV[12])
end)
if done then return {e, last, earlier, now} end
if type(refusal) == 'table' then refusal = refusal.err end
local undone = pcall(function()
  if added then redis.call('XDEL', KEYS[2], last .. '-0') end
  if keyed then redis.call('SET', KEYS[4], '-', 'PX', 1) end
  redis.call('SET', KEYS[3], before or '0 0-0', 'PX', before and ARGV[7] or 1)
  if added then redis.call('XSETID', KEYS[2], former .. '-0') end
  -- Another program has added an entry with a higher id, so no entry can be added: the next call replaces the log.
  if string.find(refusal, 'equal or smaller', 1, true) then former = '' end
  if moved then redis.call('HSET', KEYS[1], 'o', former) end
end)
if undone then return {err = refusal} end
return {e, last, earlier, now, refusal}
`

/**
 * KEYS meta, stream · ARGV 1 offset to read after, 2 maximum number of events, 3 maximum bytes. An entry holds one
 * event or several. The size of an entry is known only after it was read, so the script reads a few at a time and does
 * not return entries beyond a bound, except the first one. An entry beyond the log's offset is another program's.
 * Returns epoch or nil, offset, the last offset that was read, and the entries, all from the same moment.
 */
const READ = `${WHOLE}
local meta = redis.call('HMGET', KEYS[1], 'e', 'o')
local head = whole(meta[2]) or 0
local to = string.format('%d', head)
local entries, bytes, last = {}, 0, tonumber(ARGV[1])
local wanted, budget = last + tonumber(ARGV[2]), tonumber(ARGV[3])
local count, complete, full = 1, false, false
repeat
  local page = redis.call('XRANGE', KEYS[2], string.format('%d', last + 1), to, 'COUNT', count)
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
if complete and not full then last = math.max(last, head) end
return {meta[1], to, string.format('%d', last), entries}
`

type Arg = string | number | Buffer

/** The head in the replies of OPEN and PUBLISH. */
export type ScriptHead = readonly [epoch: string, offset: string, earlier: string]
/** The reply of PUBLISH: the head, Redis's time in ms, and the reason of a refusal that could not be undone. */
export type PublishReply = readonly [...ScriptHead, now: number, refusal?: string]
/** Entries of a stream, in binary. */
export type StreamEntries = readonly (readonly [id: Buffer, fields: readonly Buffer[]])[]
/** The reply of READ, in binary. */
type ScriptPage = readonly [epoch: Buffer | null, offset: Buffer, end: Buffer, entries: StreamEntries]

interface Scripts {
  sseOpen(meta: string, stream: string, ...args: Arg[]): Promise<ScriptHead>
  ssePublish(
    meta: string,
    stream: string,
    lastPublication: string,
    idempotency: string,
    ...args: Arg[]
  ): Promise<PublishReply>
  sseReadBuffer(meta: string, stream: string, ...args: Arg[]): Promise<ScriptPage>
}

export type RedisWithScripts = RedisClient & Scripts

/** Adds the scripts to a client. ioredis sends their hash, and the full text if Redis does not have the script. */
export function withScripts(client: RedisClient): RedisWithScripts {
  client.defineCommand('sseOpen', { numberOfKeys: 2, lua: OPEN })
  const publish = isCluster(client) ? 'SPUBLISH' : 'PUBLISH'
  client.defineCommand('ssePublish', { numberOfKeys: 4, lua: publishScript(publish) })
  client.defineCommand('sseRead', { numberOfKeys: 2, lua: READ })
  return client as RedisWithScripts
}
