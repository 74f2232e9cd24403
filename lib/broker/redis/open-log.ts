/**
 * The keys of a log in Redis, and the first step of the scripts that write. Owns that a log which has lost entries
 * continues under a new epoch. The keys of a channel share one hash tag, so each step touches one slot:
 *
 *   <prefix>{<channel>}        pub/sub channel; in a database other than 0 followed by `@<number>`, because databases
 *                              share pub/sub
 *   <prefix>{<channel>}:m      meta hash: e = epoch, o = offset of the last entry, r = replication id,
 *                              p = earlier lives, t = when the TTLs were last renewed, in ms,
 *                              x = o if the log has ended, or '',
 *                              a:… = last publication of a process: its number, its position, and until
 *                              when it is remembered
 *   <prefix>{<channel>}:s      stream, an entry for each call that published; see payload.ts
 *   <prefix>{<channel>}:i:…    position published under an idempotency key
 *
 * Two entries must never share an `<epoch>-<offset>`. After a failover to a replica that lagged, or a restart that lost
 * the last writes, the offset is lower while the epoch is unchanged. Both events change the server's `master_replid`;
 * so does a slot that moves in a cluster. The meta hash therefore stores that id, and a log that was written under
 * another id continues under a new epoch. Redis loses only the end of a log, so a reader whose position the log still
 * has can continue. Each call reads the id from INFO, which costs about 4 µs; an id that the caller sends could be out
 * of date.
 */
import { EPOCH_ALPHABET, EPOCH_LENGTH, type Head } from '../../core/position.js'
import { WHOLE } from '../../redis/lua.js'
import { parsePosition } from '../../wire/cursor.js'
import type { SeenPositions } from './seen-positions.js'

/** The maximum number of earlier lives that a log keeps. An older cursor counts as one of another log. */
const MAX_LIVES = 8
/** The digits of the largest offset at which a log can go on: with the events of a call, `MAX_OFFSET` is not reached. */
const MAX_DIGITS = 14
/** How many epochs there are. */
const EPOCHS = EPOCH_ALPHABET.length ** EPOCH_LENGTH

/**
 * `openLog`: returns the log's epoch, offset, earlier lives, the time when its TTLs were last renewed (nil: unknown), the
 * value of `field` in the meta hash, and whether the log has ended, after it was created or continued under a new epoch
 * if necessary. `i` is another whole number for each log that a script opens; `se` and `so` are epoch and offset that the
 * caller has seen. A log whose meta hash another program has damaged is replaced. ARGV[1] must be `freshEpochs()`.
 *
 * Usually the hash has what the caller has seen, in the form in which the kit prints it. That is tested first, because
 * comparing equal texts costs Lua nothing, and matching patterns much (bench `sparse`).
 */
export const OPEN_LOG = `${WHOLE}
local call, format, match, tonumber = redis.call, string.format, string.match, tonumber
local info = redis.pcall('INFO', 'replication')
local replid = type(info) == 'string' and match(info, 'master_replid:(%w+)') or ''
local function freshEpoch(i)
  local number, epoch = (tonumber(ARGV[1]) + i) % ${EPOCHS}, ''
  for _ = 1, ${EPOCH_LENGTH} do
    local digit = number % ${EPOCH_ALPHABET.length}
    epoch = string.sub('${EPOCH_ALPHABET}', digit + 1, digit + 1) .. epoch
    number = (number - digit) / ${EPOCH_ALPHABET.length}
  end
  return epoch
end
local function openLog(metaKey, stream, i, se, so, field)
  local meta = call('HMGET', metaKey, 'e', 'o', 'r', 'p', 't', field, 'x')
  local text, seen = meta[2], tonumber(meta[2])
  if seen and se ~= '' and meta[1] == se and meta[3] == replid and meta[4] == '' and not meta[7]
    and seen >= tonumber(so) and #text <= ${MAX_DIGITS} and format('%d', seen) == text then
    return se, seen, '', tonumber(meta[5]), meta[6]
  end
  local e = meta[1] and #meta[1] <= 16 and match(meta[1], '^[a-z0-9]+$')
  local o, earlier = text and #text <= ${MAX_DIGITS} and whole(text), match(meta[4] or '', '^[a-z0-9.-]*$') or ''
  if #earlier > ${MAX_LIVES} * 33 then earlier = '' end
  local ended = meta[7] and meta[7] == text
  -- Written by another program: the log would end when it gets there.
  if meta[7] and not ended and meta[7] ~= '' then call('HSET', metaKey, 'x', '') end
  local other = replid ~= '' and meta[3] ~= replid
  if e and (not o or other or (e == se and o < tonumber(so))) then
    local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if o and not (last and tonumber(match(last[1], '^%d+')) > o) then
      local lives = {format('%s-%d', e, o)}
      for life in string.gmatch(earlier, '[^.]+') do
        if #lives < ${MAX_LIVES} then lives[#lives + 1] = life end
      end
      e, earlier = freshEpoch(i), table.concat(lives, '.')
      call('HSET', metaKey, 'e', e, 'r', replid, 'p', earlier)
    else
      e = false
    end
  end
  if not e then
    -- Refuses a key of another type, which would be deleted.
    call('XLEN', stream)
    e, o, earlier = freshEpoch(i), 0, ''
    call('HSET', metaKey, 'e', e, 'o', 0, 'r', replid, 'p', '')
    if ended then call('HSET', metaKey, 'x', '') end
    ended = false
    call('DEL', stream)
  end
  return e, o, earlier, whole(meta[5]), meta[6], ended
end
`

/** The head of a log, as the scripts reply it. */
export type ScriptHead = readonly [epoch: string, offset: string, earlier: string]
/** The head as OPEN replies it. `ended`: 1 or 0. */
export type OpenReply = readonly [...ScriptHead, ended: number]

/** A random number from which a script makes the epochs of the logs that it creates or continues. */
export function freshEpochs(): number {
  return Math.floor(Math.random() * EPOCHS)
}

/** Epoch and offset that the caller has seen, for `openLog`. */
export type SeenArgs = readonly [epoch: string, offset: number]

export function seenArgs(seen: SeenPositions, channel: string): SeenArgs {
  const position = seen.get(channel)
  return [position?.epoch ?? '', position?.offset ?? 0]
}

/** Parses a head and notes it as seen. */
export function headOf(seen: SeenPositions, channel: string, [epoch, offset, earlier]: Readonly<ScriptHead>): Head {
  const position = { epoch, offset: Number(offset) }
  const head =
    earlier === ''
      ? position
      : { ...position, earlier: earlier.split('.').flatMap((life) => parsePosition(life) ?? []) }
  const lossy = seen.noteHead(channel, head)
  return lossy.length === 0 ? head : { ...head, lossy }
}
