/**
 * The scripts in Redis. Each is one atomic step on a log; publish-script.ts has the one that publishes.
 */
import { isCluster, type RedisClient } from '../../redis/connect.js'
import { WHOLE } from '../../redis/lua.js'
import { OPEN_LOG, type OpenReply } from './open-log.js'
import { type PublishClient, publishScript } from './publish-script.js'

/** The maximum number of entries that READ reads at a time, and so of entries that it reads and does not return. */
const READ_STEP = 16

/**
 * KEYS meta, stream · ARGV 1 `freshEpochs()`, 2 and 3 epoch and offset that the caller has seen, 4 meta TTL in ms.
 * Returns epoch, offset, earlier lives, and 1 if the log has ended.
 */
const OPEN = `${OPEN_LOG}
local e, o, earlier, _, _, ended = openLog(KEYS[1], KEYS[2], 0, ARGV[2], ARGV[3], 'e')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {e, format('%d', o), earlier, ended and 1 or 0}
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

/** Entries of a stream, in binary. */
export type StreamEntries = readonly (readonly [id: Buffer, fields: readonly Buffer[]])[]
/** The reply of READ, in binary. */
type ScriptPage = readonly [epoch: Buffer | null, offset: Buffer, end: Buffer, entries: StreamEntries]

interface Scripts extends PublishClient {
  sseOpen(meta: string, stream: string, ...args: readonly (string | number)[]): Promise<OpenReply>
  sseReadBuffer(meta: string, stream: string, ...args: readonly (string | number)[]): Promise<ScriptPage>
}

export type RedisWithScripts = RedisClient & Scripts

/** Adds the scripts to a client. ioredis sends their hash, and the full text if Redis does not have the script. */
export function withScripts(client: RedisClient): RedisWithScripts {
  client.defineCommand('sseOpen', { numberOfKeys: 2, lua: OPEN })
  const publish = isCluster(client) ? 'SPUBLISH' : 'PUBLISH'
  client.defineCommand('ssePublish', { lua: publishScript(publish) })
  client.defineCommand('sseRead', { numberOfKeys: 2, lua: READ })
  return client as RedisWithScripts
}
