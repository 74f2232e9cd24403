/**
 * Records one run and checks the kit's promises. Shares no code with the kit: it knows the wire format only from
 * README.
 *
 * A test calls `publication` before it publishes and `settled` with the outcome, records what each client received with
 * a `Session`, and calls `conclude` when nothing is under way any more. A promise that is broken is a violation:
 *
 * - an id of two events, for any two observers (clients, publishers, the log itself)
 * - an event that was reported as not published, and exists
 * - an event whose type, data or channel differs from what was published
 * - events of one process on one channel, published one after the other, in another order
 * - events published as one step that are not adjacent
 * - acknowledged events that a new epoch silently left out
 * - each violation that a `Session` finds in the events of one client
 *
 * Times are those of `now`, in ms.
 */
export type Outcome = 'done' | 'not' | 'unknown'

/** An event as an application publishes it. The token identifies the event; its data contains the token. */
export interface PublishedEvent {
  readonly token: string
  readonly event: string
  /** As on the wire. */
  readonly data: string
  readonly ephemeral?: boolean
}

export interface Publication {
  /** The publishing process: calls of one process on one channel keep their order. */
  readonly by: string
  readonly channel: string
  readonly events: readonly PublishedEvent[]
  readonly idempotencyKey?: string | undefined
  /** The call may overtake earlier ones on its way to the process. @defaultValue false */
  readonly unordered?: boolean
}

/** A position on the wire: `<epoch>-<offset>`. */
export interface Position {
  readonly epoch: string
  readonly offset: number
}

/** An epoch changed between two events of a client, and nothing announced it. */
export interface Renaming {
  readonly client: string
  readonly channel: string
  /** The last position that the client had under the former epoch. */
  readonly after: Position
  /** The process that served the client. */
  readonly servedBy: string
  /** Offset → token of the events that the client received on this channel since its last reset. */
  readonly delivered: ReadonlyMap<number, string>
}

interface Call extends Publication {
  /** When it was published. */
  readonly at: number
  outcome: Outcome | undefined
  code: string | undefined
  /** Of the events that are in the log, if the outcome is done. */
  positions: readonly Position[]
}

const MAX_VIOLATIONS = 50

export class History {
  readonly violations: string[] = []
  /** Channels may end from now on. */
  mayEnd = false
  readonly #calls: Call[] = []
  /** By token. */
  readonly #published = new Map<string, { readonly event: PublishedEvent; readonly call: Call }>()
  /** channel and position → token */
  readonly #tokens = new Map<string, string>()
  /** Token → the place where it was seen first. */
  readonly #seen = new Map<string, string>()
  readonly #renamings: Renaming[] = []
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  violate(text: string): void {
    if (this.violations.length < MAX_VIOLATIONS) this.violations.push(text)
  }

  /** Call it before the publication. @returns the number of the call */
  publication(publication: Publication): number {
    const call: Call = { ...publication, at: this.#now(), outcome: undefined, code: undefined, positions: [] }
    for (const event of publication.events) this.#published.set(event.token, { event, call })
    return this.#calls.push(call) - 1
  }

  /**
   * The outcome of a publication. If the same publication is attempted again under its idempotency key, only the last
   * attempt reports its outcome here.
   * @param positions of all events, in their order; ephemeral events have offset 0
   */
  settled(number: number, outcome: Outcome, code?: string, positions: readonly Position[] = []): void {
    const call = this.#calls[number] as Call
    call.outcome = outcome
    call.code = code
    if (outcome !== 'done') return
    call.positions = positions
    if (positions.length !== call.events.length) {
      this.violate(`${call.events.length} events of ${call.channel} got ${positions.length} positions`)
    }
    let before: Position | undefined
    for (const [i, position] of positions.entries()) {
      const event = call.events[i] as PublishedEvent
      if (event.ephemeral === true) continue
      this.stands(call.channel, position, event.token, `publisher ${call.by}`)
      if (before !== undefined && (position.epoch !== before.epoch || position.offset !== before.offset + 1)) {
        this.violate(`events published as one step are not adjacent: ${print(before)}, then ${print(position)}`)
      }
      before = position
    }
  }

  /** The position of an event, according to any observer. */
  stands(channel: string, position: Position, token: string, observer: string): void {
    const key = `${channel} ${print(position)}`
    const known = this.#tokens.get(key)
    if (known === undefined) this.#tokens.set(key, token)
    else if (known !== token) this.violate(`${key} stands for ${known} and for ${token} (${observer})`)
  }

  /** An event that a client received, or that a log contains. */
  saw(channel: string, token: string, event: string | undefined, data: string | undefined, where: string): void {
    if (!this.#seen.has(token)) this.#seen.set(token, where)
    const published = this.#published.get(token)
    if (published === undefined) {
      this.violate(`${token}, which was never published, is in ${where}`)
    } else if (published.call.channel !== channel) {
      this.violate(`${token} of ${published.call.channel} is in ${where} as an event of ${channel}`)
    } else if (event !== undefined && (published.event.event !== event || published.event.data !== data)) {
      this.violate(`${token} has another type or other data in ${where}: ${event} ${data?.slice(0, 60)}`)
    }
  }

  /** When the event was published. */
  publishedAt(token: string): number | undefined {
    return this.#published.get(token)?.call.at
  }

  isEphemeral(token: string): boolean {
    return this.#published.get(token)?.event.ephemeral === true
  }

  renamed(renaming: Renaming): void {
    this.#renamings.push(renaming)
  }

  /** The events that were reported as published. */
  get done(): readonly { readonly channel: string; readonly token: string }[] {
    const done = this.#calls.filter(({ outcome }) => outcome === 'done')
    return done.flatMap(({ channel, events }) => events.map(({ token }) => ({ channel, token })))
  }

  /** The number of calls by outcome. */
  get counts(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = { seen: this.#seen.size }
    for (const { outcome = 'pending', code } of this.#calls) {
      const name = outcome === 'done' ? outcome : `${outcome} ${code}`
      counts[name] = (counts[name] ?? 0) + 1
    }
    return counts
  }

  /** Checks the promises that need all outcomes: all calls are settled, and no client waits for an event. */
  conclude(): void {
    for (const call of this.#calls) {
      if (call.outcome === undefined) this.violate(`a publication on ${call.channel} by ${call.by} never settled`)
    }
    this.#checkRefused()
    this.#checkOrder()
    this.#checkRenamings()
  }

  #checkRefused(): void {
    for (const [token, where] of this.#seen) {
      const call = this.#published.get(token)?.call
      if (call?.outcome === 'not')
        this.violate(`${token} was reported as not published (${call.code}), and is in ${where}`)
    }
  }

  /** Calls of one process on one channel keep their order, for any outcomes. */
  #checkOrder(): void {
    const last = new Map<string, Position & { readonly token: string }>()
    for (const { by, channel, events, positions, idempotencyKey, unordered } of this.#calls) {
      // A key may belong to an earlier publication.
      if (idempotencyKey !== undefined || unordered === true) continue
      for (const [i, position] of positions.entries()) {
        const { token, ephemeral } = events[i] as PublishedEvent
        if (ephemeral === true) continue
        const key = `${by} ${channel}`
        const before = last.get(key)
        if (before !== undefined && before.epoch === position.epoch && before.offset >= position.offset) {
          this.violate(
            `${by} published ${before.token} before ${token}, but ${print(before)} is not before ${print(position)}`,
          )
        }
        last.set(key, { ...position, token })
      }
    }
  }

  /**
   * A process knows the events that it has published itself. If the log lost one that a client had not received, the
   * process must have announced it.
   */
  #checkRenamings(): void {
    for (const { client, channel, after, servedBy, delivered } of this.#renamings) {
      for (const { by, positions, events, channel: on } of this.#calls) {
        if (on !== channel || by !== servedBy) continue
        const lost = positions.findIndex(
          ({ epoch, offset }, i) =>
            epoch === after.epoch &&
            offset > after.offset &&
            (delivered.get(offset) ?? events[i]?.token) !== events[i]?.token,
        )
        if (lost === -1) continue
        const { token } = events[lost] as PublishedEvent
        this.violate(
          `${client}: ${channel} continued after ${print(after)} without a reset; ${token} had been acknowledged as ` +
            print(positions[lost] as Position),
        )
        break
      }
    }
  }
}

export function print({ epoch, offset }: Position): string {
  return `${epoch}-${offset}`
}
