/**
 * publish calls ─► **publish script** ─► log, subscribers. Owns what a publication changes in Redis, and that a
 * repeated or undone one changes nothing more.
 */
import type { ResolvedRetention } from '../options.js'
import { freshEpochs, OPEN_LOG, type ScriptHead, type SeenArgs } from './open-log.js'

/** The keys and the arguments of each publication in a call, and the arguments that all of them share. */
const [PUBLICATION_KEYS, PUBLICATION_ARGS, SHARED_ARGS] = [2, 5, 11]
/** A log with a longer history is trimmed once in as many offsets, because XADD with trimming costs more. */
const TRIM_INTERVAL = 16
/** In the reply to a publication on a log that has ended. */
export const ENDED = 'ENDED'
/** With more fields in a meta hash, the first publication of a process removes those of processes that have ended. */
const MAX_FIELDS = 32

/**
 * Publishes on one channel, or independently on several: each publication is atomic and has its own result.
 *
 * Each key and argument costs Redis as much as a short command (bench `sparse`), so rare ones are at the end, and the
 * name of the pub/sub channel is that of the meta hash without its end.
 *
 * KEYS for each publication: meta, stream. Then, if one has an idempotency key, for each: its key, or meta for none.
 *
 * ARGV 1 `freshEpochs()`, 2 the number of publications, 3 meta TTL in ms, 4 how long the last publication of a process is
 * remembered, 5 history size, 6 history TTL, 7 the time on Redis's clock after which this attempt has no effect, or 0,
 * 8 the field of the process in the meta hashes, 9 the minimum time between two renewals of a TTL, 10 the end of the
 * names of pub/sub channels, 11 idempotency TTL. Then for each publication: epoch and offset that the caller has seen,
 * number of the publication, how many events enter the log (if it ends after them: minus one more), payload. Then, if one keeps another payload than it sends,
 * for each: that payload, or '' for the same. The cost does not depend on the number of events.
 *
 * A publication may arrive repeatedly, and late, so each attempt reads the last publication of its process. The same
 * number: another attempt has published it. A higher number: this attempt was delayed, and its process has published
 * more since. In both cases nothing is published. A call that arrives after its deadline is refused with `LATE <Redis's
 * time>`, because Redis may have forgotten the last publication by then. An idempotency key has no effect if the log
 * has lost its events.
 *
 * If Redis refuses a command in the middle of a publication, the script undoes the earlier ones, so a refused
 * publication is neither logged nor delivered. The undo only uses commands that this publication has used before,
 * except XDEL and XSETID. Once the event is in no log, nothing may say that it was published, because another attempt
 * would report that. If Redis refuses the undo as well, the offset stays used, and the fourth value is the reason.
 * A log that has ended takes no publication: the fourth value is `ENDED`. It may be ended again, which only notifies the
 * subscribers again.
 * Returns Redis's time in ms, then for each publication an error, or epoch, offset of the last event, earlier lives.
 */
export const publishScript = (publish: 'PUBLISH' | 'SPUBLISH') => `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[7] ~= '0' and now > tonumber(ARGV[7]) then return {err = string.format('LATE %d', now)} end
${OPEN_LOG}
local keys, args, pcall = KEYS, ARGV, pcall
local count, metaTtl, lastTtl, size, historyTtl = tonumber(args[2]), args[3], tonumber(args[4]), tonumber(args[5]), args[6]
local field, renewMs, suffix, keyTtl, nowText = args[8], tonumber(args[9]), args[10], args[11], format('%d', now)
local keptUntil = format('%d', now + lastTtl)
local keyedFrom, keptFrom = count * ${PUBLICATION_KEYS} + 1, count * ${PUBLICATION_ARGS} + ${SHARED_ARGS + 1}
local trims = size < ${8 * TRIM_INTERVAL} and 1 or ${TRIM_INTERVAL}
local function isKept(e, o, earlier, epoch, offset)
  if epoch == e then return tonumber(offset) <= o end
  for le, lo in string.gmatch(earlier, '(%w+)-(%d+)') do
    if le == epoch then return tonumber(offset) <= tonumber(lo) end
  end
  return false
end
local function prune(metaKey)
  if call('HLEN', metaKey) <= ${MAX_FIELDS} then return end
  local all = call('HGETALL', metaKey)
  for i = 1, #all, 2 do
    local kept = string.sub(all[i], 1, 2) == 'a:' and (tonumber(match(all[i + 1], ' (%d+)$')) or 0)
    if kept and kept < now then call('HDEL', metaKey, all[i]) end
  end
end
-- Of the publication that is being written: its log before, its last offset, and the changes so far.
local epoch, former, lives, before, last, moved, keyed, added, ends
local function publish(i, k, a)
  local metaKey, stream, number, key = keys[k], keys[k + 1], args[a + 2], keys[keyedFrom + i]
  local o, renewedAt, ended
  moved, keyed, added, ends = false, false, false, false
  epoch, o, lives, renewedAt, before, ended = openLog(metaKey, stream, i, args[a], args[a + 1], field)
  local sequence = before and tonumber(match(before, '^%d+'))
  if sequence and sequence >= tonumber(number) then
    local digits, be, bo = match(before, '^(%d+) (%w+)-(%d+) ')
    if whole(digits) and whole(bo) then
      if isKept(epoch, o, lives, be, bo) then return {epoch, bo, lives} end
      return {be, bo, ''}
    end
  end
  if key == metaKey then key = nil end
  if key then
    local known = call('GET', key)
    local ke, ko = match(known or '', '^(%w+)-(%d+)$')
    if whole(ko) and isKept(epoch, o, lives, ke, ko) then
      call('HSET', metaKey, field, number .. ' ' .. known .. ' ' .. keptUntil)
      return {epoch, ko, lives}
    end
  end
  if not before then prune(metaKey) end
  former = o
  local first, events = format('%d', o + 1), args[a + 3]
  if events == '1' then
    last = first
  else
    events = tonumber(events)
    if events < 0 then ends, events = true, -events - 1 end
    last = format('%d', o + events)
  end
  if ended then
    if not ends then return {epoch, format('%d', o), lives, '${ENDED}'} end
    -- The subscribers may not know yet: the first notification may have been refused, or lost.
    call('${publish}', string.sub(metaKey, 1, -3) .. suffix, epoch .. ' ' .. first .. '\\n!\\n')
    return {epoch, format('%d', o), lives}
  end
  local renews = not (renewedAt and now >= renewedAt and now < renewedAt + renewMs)
  call('HSET', metaKey, 'o', last, field, number .. ' ' .. epoch .. '-' .. last .. ' ' .. keptUntil)
  moved = true
  if ends then call('HSET', metaKey, 'x', last) end
  if renews then
    call('HSET', metaKey, 't', nowText)
    call('PEXPIRE', metaKey, metaTtl)
  end
  if key then
    call('SET', key, epoch .. '-' .. last, 'PX', keyTtl)
    keyed = key
  end
  local payload = args[a + 4]
  if size > 0 and events ~= 0 then
    local id, kept = last .. '-0', args[keptFrom + i] or ''
    if kept == '' then kept = payload end
    local exists
    if math.floor(o / trims) == math.floor(tonumber(last) / trims) then
      exists = call('XADD', stream, 'NOMKSTREAM', id, 'p', kept)
    else
      -- By the offset before: if this publication is refused, the history must still be there.
      local oldest = format('%d', math.max(0, o - size + 1))
      exists = call('XADD', stream, 'NOMKSTREAM', 'MINID', '~', oldest, id, 'p', kept)
    end
    if not exists then
      call('XADD', stream, id, 'p', kept)
      renews = true
    end
    added = true
    if renews then call('PEXPIRE', stream, historyTtl) end
  end
  call('${publish}', string.sub(metaKey, 1, -3) .. suffix, epoch .. ' ' .. first .. '\\n' .. payload)
  return {epoch, last, lives}
end
local function undo(k, refusal)
  local id = format('%d', former)
  if added then call('XDEL', keys[k + 1], last .. '-0') end
  if keyed then call('SET', keyed, '-', 'PX', 1) end
  if moved then call('HSET', keys[k], field, before or '', 't', 0) end
  if added then call('XSETID', keys[k + 1], id .. '-0') end
  -- Another program has added an entry with a higher id, so no entry can be added: the next call replaces the log.
  if string.find(refusal, 'equal or smaller', 1, true) then id = '' end
  if moved then call('HSET', keys[k], 'o', id) end
  if ends and moved then call('HSET', keys[k], 'x', '') end
end
local replies = {now}
local k, a = 1, ${SHARED_ARGS + 1}
for i = 0, count - 1 do
  local done, reply = pcall(publish, i, k, a)
  if not done then
    local refusal = type(reply) == 'table' and reply.err or reply
    reply = {err = refusal}
    if moved and not pcall(undo, k, refusal) then reply = {epoch, last, lives, refusal} end
    -- Of all publications, and the client reconnects only if the call itself fails (connect.ts).
    if reply.err and string.find(refusal, 'READONLY', 1, true) then return reply end
  end
  replies[i + 2] = reply
  k, a = k + ${PUBLICATION_KEYS}, a + ${PUBLICATION_ARGS}
end
return replies
`

/** What one publication needs, see `publishScript`. */
export interface Publication {
  readonly keys: {
    readonly meta: string
    readonly stream: string
    /** `undefined`: without a key. */
    readonly idempotency: string | undefined
  }
  readonly seen: SeenArgs
  readonly number: number
  readonly logged: number
  /** The log ends after the events. */
  readonly ends: boolean
  readonly payload: string
  /** `undefined`: the payload. */
  readonly kept: string | undefined
}

/** What all publications of a process share: who it is, and how long Redis remembers them. */
export interface PublishScriptOptions {
  readonly publisherId: string
  readonly metaTtlMs: number
  readonly lastPublicationTtlMs: number
  readonly idempotencyTtlMs: number
  /** The end of the names of pub/sub channels. */
  readonly pubSubSuffix: string
}

/** The reply to a publication: the head, and `ENDED` or the reason of a refusal that could not be undone. */
export type PublicationReply = readonly [...ScriptHead, refusal?: string]
/** The reply of PUBLISH: Redis's time in ms, and the reply to each publication. */
export type PublishReply = readonly [now: number, ...publications: readonly (PublicationReply | Error)[]]

type Arg = string | number | Buffer

export interface PublishClient {
  /** See `sendPublications`. */
  ssePublish(...numberOfKeysThenAll: readonly Arg[]): Promise<PublishReply>
}

/**
 * How long Redis keeps the meta hash of a log that nobody uses, in ms: at least as long as the last publication of a
 * process, which is in it.
 */
export function metaTtl(
  { metaTtlMs, lastPublicationTtlMs }: Pick<PublishScriptOptions, 'metaTtlMs' | 'lastPublicationTtlMs'>,
  { historyTtlMs }: ResolvedRetention,
): number {
  return Math.max(metaTtlMs, lastPublicationTtlMs, historyTtlMs) + renewalMs(historyTtlMs)
}

/**
 * The minimum time between two renewals of a TTL, in ms: a renewal at each publication is measurable (bench `sparse`).
 * The TTLs in Redis are longer by this time.
 */
function renewalMs(historyTtlMs: number): number {
  return Math.floor(historyTtlMs / 8)
}

/**
 * Sends publications in one call. In a cluster their channels must be in the same slot.
 * @param retention of all their channels
 * @param deadline the time on Redis's clock after which the call has no effect; 0: none
 */
export function sendPublications(
  client: PublishClient,
  publications: readonly Publication[],
  options: PublishScriptOptions,
  retention: ResolvedRetention,
  deadline: number,
): Promise<PublishReply> {
  const { publisherId, lastPublicationTtlMs, idempotencyTtlMs } = options
  const { historySize, historyTtlMs } = retention
  const renewMs = renewalMs(historyTtlMs)
  const count = publications.length
  const isKeyed = publications.some(({ keys }) => keys.idempotency !== undefined)
  const all: Arg[] = [(isKeyed ? PUBLICATION_KEYS + 1 : PUBLICATION_KEYS) * count]
  for (const { keys } of publications) all.push(keys.meta, keys.stream)
  if (isKeyed) for (const { keys } of publications) all.push(keys.idempotency ?? keys.meta)
  all.push(freshEpochs(), count, metaTtl(options, retention), lastPublicationTtlMs, historySize, historyTtlMs + renewMs)
  all.push(deadline, `a:${publisherId}`, renewMs, options.pubSubSuffix, idempotencyTtlMs)
  for (const { seen, number, logged, ends, payload } of publications) {
    all.push(...seen, number, ends ? -logged - 1 : logged, payload)
  }
  if (publications.some(({ kept }) => kept !== undefined)) for (const { kept } of publications) all.push(kept ?? '')
  return client.ssePublish(...all)
}
