/**
 * commands ─► **publish calls** ─► publish script: what one call of the script publishes, on one channel or on several.
 * Owns the arguments of a publication, and what its reply means.
 *
 * With 100 channels in a tick, sharing calls saves Redis about a quarter of the CPU (`npm run bench -- publish`).
 */
import { BrokerError, type SseError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import { isCluster, type RedisClient } from '../../redis/connect.js'
import { Command } from '../../redis/run.js'
import { channelEnded } from '../broker.js'
import type { ResolvedRetention } from '../options.js'
import type { Keys } from './keys.js'
import { headOf, type SeenArgs, seenArgs } from './open-log.js'
import { printPayload } from './payload.js'
import { ENDED, type Publication, type PublicationReply } from './publish-script.js'
import type { SeenPositions } from './seen-positions.js'

/** The bounds of one call, because Redis does nothing else meanwhile. Only one publication may exceed the bytes. */
const MAX_PUBLICATIONS = 64
const MAX_BYTES = 1_048_576

/** Events to publish on a channel as one step, and who waits for the outcome. */
export interface PublishCall {
  readonly channel: string
  readonly retention: ResolvedRetention
  readonly events: readonly EncodedEvent[]
  /** The bytes of the events. */
  readonly bytes: number
  readonly idempotencyKey: string | undefined
  /** Ends the log. */
  readonly ends: boolean
  /** On the clock of the process. */
  readonly deadline: number
  /** How long before its deadline the first event was accepted, in ms. */
  readonly timeoutMs: number
  /** @param head the position of the last event; of ephemeral events, which are in no log, the offset 0 */
  resolve(head: Position): void
  reject(error: SseError): void
  /** See `Command`. */
  onSettled(): void
}

/** What the publications of a process share. */
export interface Publishing {
  readonly keys: Keys
  readonly seen: SeenPositions
  /** A publication is settled. */
  readonly onSettled: () => void
}

/** The position of an ephemeral event. */
const EPHEMERAL_POSITION: Position = Object.freeze({ epoch: '', offset: 0 })

/** A command for a call, which has its deadline and outcome. */
abstract class CallCommand<T> extends Command<T> {
  protected readonly call: PublishCall
  readonly #onSettled: () => void

  constructor(call: PublishCall, onSettled: () => void) {
    super()
    this.call = call
    this.#onSettled = onSettled
  }

  get deadline(): number {
    return this.call.deadline
  }

  get timeoutMs(): number {
    return this.call.timeoutMs
  }

  reject(error: SseError): void {
    this.call.reject(error)
  }

  onSettled(): void {
    this.#onSettled()
    this.call.onSettled()
  }
}

/** Sends ephemeral events to the subscribers. */
export class BroadcastCommand extends CallCommand<unknown> {
  resolve(): void {
    this.call.resolve(EPHEMERAL_POSITION)
  }
}

export class PublishCommand extends CallCommand<PublicationReply> implements Publication {
  readonly keys: Publication['keys']
  readonly number: number
  readonly logged: number
  readonly ends: boolean
  readonly payload: string
  readonly kept: string | undefined
  readonly #publishing: Publishing

  /** @param now in ms since 1970 */
  constructor(call: PublishCall, number: number, publishing: Publishing, now: number) {
    super(call, publishing.onSettled)
    const { channel, events, idempotencyKey, ends } = call
    const { keys } = publishing
    this.#publishing = publishing
    this.number = number
    this.keys = {
      meta: keys.meta(channel),
      stream: keys.stream(channel),
      idempotency: idempotencyKey === undefined ? undefined : keys.idempotency(channel, idempotencyKey),
    }
    const logged = events.filter(({ ephemeral }) => !ephemeral)
    this.logged = logged.length
    this.ends = ends
    this.payload = printPayload(events, now, ends)
    this.kept = logged.length === events.length ? undefined : printPayload(logged, now)
  }

  get retention(): ResolvedRetention {
    return this.call.retention
  }

  get bytes(): number {
    return this.call.bytes
  }

  /** Looked up for each attempt. */
  get seen(): SeenArgs {
    return seenArgs(this.#publishing.seen, this.call.channel)
  }

  resolve([epoch, offset, earlier, refusal]: PublicationReply): void {
    if (refusal === undefined) {
      this.call.resolve(headOf(this.#publishing.seen, this.call.channel, [epoch, offset, earlier]))
      return
    }
    if (refusal === ENDED) {
      this.call.reject(channelEnded(this.call.channel))
      return
    }
    this.call.reject(
      new BrokerError(
        'ERR_SSE_BROKER_TIMEOUT',
        `Redis refused a command (${refusal}) after it had added the event to the log, and refused to undo that: ` +
          'streams may or may not get the event',
      ),
    )
  }
}

/** Divides publications into calls, whose publications have the same retention. In a cluster each has a call of its own, because each channel is in another slot. */
export function callsOf(commands: readonly PublishCommand[], client: RedisClient): readonly PublishCommand[][] {
  const max = isCluster(client) ? 1 : MAX_PUBLICATIONS
  const calls: PublishCommand[][] = []
  let bytes = 0
  for (const command of commands) {
    const last = calls.at(-1)
    const fits = last !== undefined && last.length < max && bytes + command.bytes <= MAX_BYTES
    if (!fits || !isSame((last[0] as PublishCommand).retention, command.retention)) {
      calls.push([command])
      bytes = command.bytes
    } else {
      last.push(command)
      bytes += command.bytes
    }
  }
  return calls
}

function isSame(one: ResolvedRetention, other: ResolvedRetention): boolean {
  return one === other || (one.historySize === other.historySize && one.historyTtlMs === other.historyTtlMs)
}
