/**
 * The data of a simulated Redis, and the kit's scripts on it. `differential.test.ts` compares it with a real Redis that
 * runs the real scripts.
 */
/** The same values as in the scripts. */
const READ_STEP = 16
const MAX_FIELDS = 32

type Hash = Map<string, string>

export interface StreamEntry {
  readonly id: number
  readonly payload: Buffer
}

interface Stream {
  readonly entries: StreamEntry[]
  lastId: number
}

interface Value {
  value: string | Hash | Stream
  /** In ms of the server's clock. */
  expiresAt: number
}

/** One publication, and what it shares with the others of its call. */
interface Publication {
  readonly meta: string
  readonly stream: string
  /** `undefined`: without a key. */
  readonly idempotency: string | undefined
  /** See `#openLog`. */
  readonly open: readonly string[]
  readonly pubSub: string
  readonly number: string
  readonly idempotencyTtl: number
  readonly logged: number
  /** The log ends after the publication. */
  readonly ends: boolean
  readonly payload: Buffer
  readonly kept: Buffer
  readonly metaTtl: number
  readonly lastTtl: number
  readonly size: number
  readonly historyTtl: number
  /** The field of the process in the meta hash. */
  readonly field: string
  readonly renewMs: number
  readonly now: number
}

/** The changes of one publication. */
interface Write {
  readonly last: number
  /** `undefined`: the log keeps no entries. */
  readonly oldest: number | undefined
  readonly position: string
  /** Whether the expiries are set. */
  readonly renews: boolean
  /** What was changed so far. */
  moved: boolean
  keyed: boolean
  added: boolean
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** As `freshEpoch` in the scripts. */
function epochOf(number: number): string {
  let epoch = ''
  for (let i = 0, left = number % 36 ** 6; i < 6; i++, left = Math.floor(left / 36)) epoch = ALPHABET[left % 36] + epoch
  return epoch
}

export class RedisError extends Error {}

/** A copy of all data at one moment. */
export interface Snapshot {
  readonly values: ReadonlyMap<string, Value>
}

export interface DataOptions {
  /** The server's clock, in ms since 1970. */
  readonly now: () => number
  /** Passes a message to subscribers. @returns how many got it */
  readonly publish: (channel: string, message: Buffer) => number
  /** The reason why a command is refused now; `undefined`: it is not refused. */
  readonly refusal: (command: string) => string | undefined
  /** XADD with `MINID ~` need not remove all old entries. @returns whether it removes them this time */
  readonly trims: () => boolean
  /** Called for each entry that leaves a log. */
  readonly onRemoved?: (key: string, id: number) => void
}

export class RedisData {
  replid = 'replid1'
  readonly #options: DataOptions
  #values = new Map<string, Value>()

  constructor(options: DataOptions) {
    this.#options = options
  }

  snapshot(): Snapshot {
    return { values: new Map([...this.#values].map(([key, value]) => [key, copy(value)])) }
  }

  restore({ values }: Snapshot): void {
    this.#values = new Map([...values].map(([key, value]) => [key, copy(value)]))
  }

  flush(): void {
    this.#values.clear()
  }

  delete(key: string): boolean {
    return this.#values.delete(key)
  }

  /** SET … PX. @param onlyNew leaves an existing value. @returns whether the value was set */
  set(key: string, value: string, ttlMs: number, onlyNew: boolean): boolean {
    if (onlyNew && this.#get(key) !== undefined) return false
    this.#setText(key, value, ttlMs)
    return true
  }

  /** The value of a key that holds text; `null`: none. */
  text(key: string): string | null {
    return this.#text(key) ?? null
  }

  /** The fields of a hash. */
  hash(key: string): ReadonlyMap<string, string> {
    const value = this.#get(key)?.value
    return value instanceof Map ? value : new Map()
  }

  /** HSET of another program. */
  setField(key: string, field: string, value: string): void {
    this.#writableHash(key).set(field, value)
  }

  entries(key: string): readonly StreamEntry[] {
    return this.#stream(key)?.entries ?? []
  }

  /** Keeps the last `count` entries. */
  trim(key: string, count: number): void {
    const stream = this.#stream(key)
    if (stream !== undefined) stream.entries.splice(0, Math.max(0, stream.entries.length - count))
  }

  removeEntry(key: string, id: number): void {
    const stream = this.#stream(key)
    const at = stream?.entries.findIndex((entry) => entry.id === id) ?? -1
    if (at >= 0) stream?.entries.splice(at, 1)
  }

  open([meta = '', stream = '']: readonly string[], args: readonly string[]): unknown {
    const log = this.#openLog(meta, stream, args)
    this.#call('pexpire')
    this.#expire(meta, Number(args[3]))
    return [log.epoch, String(log.offset), log.earlier, log.ended ? 1 : 0]
  }

  /** @returns as the script: the server's time, and for each publication a reply or an error @throws RedisError */
  publish(keys: readonly string[], args: readonly Buffer[]): readonly unknown[] {
    const now = this.#options.now()
    const [fresh = 0, count = 0, metaTtl = 0, lastTtl = 0, size = 0, historyTtl = 0, deadline = 0] = args
      .slice(0, 7)
      .map(Number)
    const [field = '', renews = '', suffix = '', idempotencyTtl = ''] = args.slice(7, 11).map(String)
    if (deadline !== 0 && now > deadline) throw new RedisError(`LATE ${now}`)
    const replies: unknown[] = [now]
    for (let i = 0; i < count; i++) {
      const [meta = '', stream = ''] = keys.slice(i * 2)
      const key = keys[count * 2 + i]
      const own = args.slice(11 + i * 5, 16 + i * 5)
      const [seenEpoch = '', seenOffset = '', number = ''] = own.map(String)
      const payload = own[4] as Buffer
      const events = Number(own[3])
      const kept = args[11 + count * 5 + i]
      try {
        replies.push(
          this.#publish({
            ...{
              field,
              renewMs: Number(renews),
              now,
              meta,
              stream,
              number,
              metaTtl,
              lastTtl,
              size,
              historyTtl,
              payload,
            },
            open: [String(fresh + i), seenEpoch, seenOffset],
            pubSub: meta.slice(0, -2) + suffix,
            idempotency: key === meta ? undefined : key,
            idempotencyTtl: Number(idempotencyTtl),
            logged: events < 0 ? -events - 1 : events,
            ends: events < 0,
            kept: kept === undefined || kept.length === 0 ? payload : kept,
          }),
        )
      } catch (refusal) {
        if (!(refusal instanceof RedisError)) throw refusal
        replies.push(refusal)
      }
    }
    return replies
  }

  #publish(publication: Publication): unknown {
    const { meta, stream, idempotency, number, size, field, now, renewMs } = publication
    const { epoch, offset, earlier, ended } = this.#openLog(meta, stream, publication.open)
    const isKept = (e: string, o: string): boolean =>
      [{ epoch, offset }, ...livesOf(earlier)].some((life) => life.epoch === e && Number(o) <= life.offset)
    const last = offset + publication.logged
    const oldest = Math.max(0, offset - size + 1)
    const position = `${epoch}-${last}`
    const before = this.hash(meta).get(field)
    const [, sequence, be = '', bo = ''] = /^(\d{1,15}) (\w+)-(\d{1,15}) /.exec(before ?? '') ?? []
    if (sequence !== undefined && Number(sequence) >= Number(number)) {
      return isKept(be, bo) ? [epoch, bo, earlier] : [be, bo, '']
    }
    if (idempotency !== undefined) {
      this.#call('get')
      const known = this.#text(idempotency) ?? ''
      const [, ke = '', ko = ''] = /^(\w+)-(\d{1,15})$/.exec(known) ?? []
      if (ko !== '' && isKept(ke, ko)) {
        this.#call('hset')
        this.#writableHash(meta).set(field, `${number} ${known} ${now + publication.lastTtl}`)
        return [epoch, ko, earlier]
      }
    }
    if (before === undefined) this.#prune(publication)
    if (ended) return this.#endAgain(publication, epoch, offset, earlier)
    const renewedAt = whole(this.hash(meta).get('t')) ?? 0
    const write: Write = {
      last,
      oldest: size > 0 && publication.logged > 0 ? oldest : undefined,
      position,
      renews: now < renewedAt || now >= renewedAt + renewMs,
      moved: false,
      keyed: false,
      added: false,
    }
    const message = Buffer.concat([Buffer.from(`${epoch} ${offset + 1}\n`), publication.payload])
    const refusal = this.#writeOrUndo(publication, write, message, offset, before)
    const reply = [epoch, String(last), earlier]
    return refusal === undefined ? reply : [...reply, refusal]
  }

  /** Only the subscribers of a log that has ended are notified again. */
  #endAgain({ ends, pubSub }: Publication, epoch: string, offset: number, earlier: string): readonly string[] {
    const head = [epoch, String(offset), earlier]
    if (!ends) return [...head, 'ENDED']
    this.#call('publish')
    this.#options.publish(pubSub, Buffer.from(`${epoch} ${offset + 1}\n!\n`))
    return head
  }

  /** @returns the reason of a refused command if its undo was refused too @throws RedisError if nothing was changed */
  #writeOrUndo(
    publication: Publication,
    write: Write,
    message: Buffer,
    offset: number,
    before: string | undefined,
  ): string | undefined {
    try {
      this.#write(publication, write, message)
      return undefined
    } catch (refusal) {
      if (!(refusal instanceof RedisError)) throw refusal
      try {
        this.#undo(publication, write, refusal.message.includes('equal or smaller') ? '' : String(offset), before)
      } catch (second) {
        if (!(second instanceof RedisError)) throw second
        return refusal.message
      }
      throw refusal
    }
  }

  /** Removes the fields of processes that have not published for a long time. */
  #prune({ meta, now }: Publication): void {
    this.#call('hlen')
    const fields = this.hash(meta)
    if (fields.size <= MAX_FIELDS) return
    this.#call('hgetall')
    for (const [name, value] of [...fields]) {
      const until = Number(/ (\d+)$/.exec(value)?.[1] ?? 0)
      if (!name.startsWith('a:') || until >= now) continue
      this.#call('hdel')
      this.#writableHash(meta).delete(name)
    }
  }

  /** @throws RedisError in the middle, if a command is refused */
  #write(publication: Publication, write: Write, message: Buffer): void {
    const { meta, stream, kept, idempotency, idempotencyTtl, metaTtl, historyTtl, pubSub } = publication
    const { field, number, now } = publication
    let { renews } = write
    this.#call('hset')
    const fields = this.#writableHash(meta)
    fields.set('o', String(write.last)).set(field, `${number} ${write.position} ${now + publication.lastTtl}`)
    write.moved = true
    if (publication.ends) {
      this.#call('hset')
      fields.set('x', String(write.last))
    }
    if (renews) {
      fields.set('t', String(now))
      this.#call('pexpire')
      this.#expire(meta, metaTtl)
    }
    if (idempotency !== undefined) {
      this.#call('set')
      this.#setText(idempotency, write.position, idempotencyTtl)
      write.keyed = true
    }
    if (write.oldest !== undefined) {
      this.#call('xadd')
      if (this.#stream(stream) === undefined) renews = true
      this.#add(stream, write.last, write.oldest, kept)
      write.added = true
      if (renews) {
        this.#call('pexpire')
        this.#expire(stream, historyTtl)
      }
    }
    this.#call('publish')
    this.#options.publish(pubSub, message)
  }

  #undo(
    { meta, stream, field, idempotency, ends }: Publication,
    { moved, keyed, added, last }: Write,
    offset: string,
    before: string | undefined,
  ): void {
    if (added) {
      this.#call('xdel')
      this.removeEntry(stream, last)
    }
    if (keyed && idempotency !== undefined) {
      this.#call('set')
      this.#setText(idempotency, '-', 1)
    }
    if (moved) {
      this.#call('hset')
      this.#writableHash(meta)
        .set(field, before ?? '')
        .set('t', '0')
    }
    if (added) {
      this.#call('xsetid')
      const log = this.#stream(stream)
      if (log !== undefined) log.lastId = Number(offset)
    }
    if (moved) {
      this.#call('hset')
      const log = this.#writableHash(meta).set('o', offset)
      if (ends) log.set('x', '')
    }
  }

  read([meta = '', stream = '']: readonly string[], [after, count, bytesAllowed]: readonly string[]): unknown {
    this.#call('hmget')
    const fields = this.hash(meta)
    const head = whole(fields.get('o')) ?? 0
    const log = this.entries(stream).filter(({ id }) => id <= head)
    const entries: StreamEntry[] = []
    let bytes = 0
    let last = Number(after)
    const wanted = last + Number(count)
    const budget = Number(bytesAllowed)
    let complete = false
    let full = false
    for (let step = 1; !full && !complete && last < wanted && bytes < budget; step = Math.min(step * 2, READ_STEP)) {
      this.#call('xrange')
      const page = log.filter(({ id }) => id > last).slice(0, step)
      complete = page.length < step
      for (const entry of page) {
        full = entries.length > 0 && (last >= wanted || bytes + entry.payload.length > budget)
        if (full) break
        entries.push(entry)
        bytes += entry.payload.length
        last = entry.id
      }
    }
    if (complete && !full) last = Math.max(last, head)
    return [
      fields.get('e') ?? null,
      String(head),
      String(last),
      entries.map(({ id, payload }) => [`${id}-0`, ['p', payload]]),
    ]
  }

  /** @param args a number that makes a new epoch, and epoch and offset that the caller has seen */
  #openLog(
    meta: string,
    streamKey: string,
    args: readonly string[],
  ): { epoch: string; offset: number; earlier: string; ended: boolean } {
    const [number = '', seenEpoch = '', seenOffset = ''] = args
    const fresh = epochOf(Number(number))
    const info = this.#options.refusal('info') === undefined ? this.replid : ''
    this.#call('hmget')
    const fields = this.hash(meta)
    let epoch = matching(fields.get('e'), /^[a-z0-9]{1,16}$/)
    let offset = whole(matching(fields.get('o'), /^\d{1,14}$/))
    let earlier = matching(fields.get('p'), /^[a-z0-9.-]{0,264}$/) ?? ''
    this.#clearForeignEnd(meta)
    const other = info !== '' && fields.get('r') !== info
    if (
      epoch !== undefined &&
      (offset === undefined || other || (epoch === seenEpoch && offset < Number(seenOffset)))
    ) {
      this.#call('xrevrange')
      const last = this.entries(streamKey).at(-1)
      if (offset !== undefined && !(last !== undefined && last.id > offset)) {
        const lives = [`${epoch}-${offset}`, ...(earlier === '' ? [] : earlier.split('.'))].slice(0, 8)
        epoch = fresh
        earlier = lives.join('.')
        this.#call('hset')
        const log = this.#writableHash(meta)
        log.set('e', epoch).set('r', info).set('p', earlier)
      } else {
        epoch = undefined
      }
    }
    if (epoch === undefined) {
      this.#call('xlen')
      epoch = fresh
      offset = 0
      earlier = ''
      this.#call('hset')
      const log = this.#writableHash(meta).set('e', epoch).set('o', '0').set('r', info).set('p', '')
      reopen(log)
      this.#call('del')
      for (const { id } of this.entries(streamKey)) this.#options.onRemoved?.(streamKey, id)
      this.delete(streamKey)
    }
    return { epoch, offset: offset ?? 0, earlier, ended: Boolean(this.hash(meta).get('x')) }
  }

  /** A log has ended only where it is. */
  #clearForeignEnd(meta: string): void {
    const { x = '', o } = Object.fromEntries(this.hash(meta))
    if (x === '' || x === o) return
    this.#call('hset')
    this.#writableHash(meta).set('x', '')
  }

  /** @throws RedisError */
  #call(command: string): void {
    const refusal = this.#options.refusal(command)
    if (refusal !== undefined) throw new RedisError(refusal)
  }

  #get(key: string): Value | undefined {
    const found = this.#values.get(key)
    if (found === undefined || found.expiresAt > this.#options.now()) return found
    this.#values.delete(key)
    return undefined
  }

  #text(key: string): string | undefined {
    const value = this.#get(key)?.value
    return typeof value === 'string' ? value : undefined
  }

  /** @returns the value before */
  #setText(key: string, text: string, ttlMs: number): string | undefined {
    const before = this.#text(key)
    this.#values.set(key, { value: text, expiresAt: this.#options.now() + ttlMs })
    return before
  }

  #writableHash(key: string): Hash {
    const found = this.#get(key)?.value
    if (found instanceof Map) return found
    const made: Hash = new Map()
    this.#values.set(key, { value: made, expiresAt: Number.POSITIVE_INFINITY })
    return made
  }

  #stream(key: string): Stream | undefined {
    const value = this.#get(key)?.value
    return typeof value === 'object' && 'entries' in value && 'lastId' in value ? value : undefined
  }

  #add(key: string, id: number, oldest: number, payload: Buffer): void {
    let stream = this.#stream(key)
    if (stream === undefined) {
      stream = { entries: [], lastId: 0 }
      this.#values.set(key, { value: stream, expiresAt: Number.POSITIVE_INFINITY })
    }
    if (id === 0) throw new RedisError('ERR The ID specified in XADD must be greater than 0-0')
    if (id <= stream.lastId) {
      throw new RedisError('ERR The ID specified in XADD is equal or smaller than the target stream top item')
    }
    stream.entries.push({ id, payload })
    stream.lastId = id
    const kept = stream.entries.findIndex((entry) => entry.id >= oldest)
    if (kept > 0 && this.#options.trims()) {
      for (const removed of stream.entries.splice(0, kept)) this.#options.onRemoved?.(key, removed.id)
    }
  }

  #expire(key: string, ttlMs: number): void {
    const value = this.#get(key)
    if (value !== undefined) value.expiresAt = this.#options.now() + ttlMs
  }
}

/** A new log has not ended. */
function reopen(log: Hash): void {
  if (log.get('x')) log.set('x', '')
}

function matching(text: string | undefined, form: RegExp): string | undefined {
  return text !== undefined && form.test(text) ? text : undefined
}

/** As in the scripts: the number, if Lua represents it exactly. */
function whole(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

function livesOf(earlier: string): readonly { readonly epoch: string; readonly offset: number }[] {
  return [...earlier.matchAll(/(\w+)-(\d+)/g)].map(([, epoch = '', offset]) => ({ epoch, offset: Number(offset) }))
}

function copy({ value, expiresAt }: Value): Value {
  if (typeof value === 'string') return { value, expiresAt }
  if (value instanceof Map) return { value: new Map(value), expiresAt }
  return { value: { entries: [...value.entries], lastId: value.lastId }, expiresAt }
}
