/**
 * request ─► **poll opener** ─► poll. Owns the open polls, and the one order in which a poll is opened:
 *
 *   1. turn       an answer is made only when its response may be sent (HTTP/1 pipelining)
 *   2. channels   `channelsOf` names them; the request's body is discarded
 *   3. params     cursor, `from`, `wait`, `until`
 *   4. subscribe  the channels are open in this process and include the cursor's positions
 *   5. begin      without a pause: the token is still valid, positions, reader, watch for revocations
 */

import { tokenExpired, tokenRevoked } from '../auth/refusals.js'
import type { StoreRevocations } from '../auth/revocations.js'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import type { Position } from '../core/position.js'
import { wholeNumber } from '../core/validation.js'
import { authOf } from '../http/auth-of.js'
import { discardBody } from '../http/body.js'
import type { AnyResponse, Exchange } from '../http/exchange.js'
import type { StreamRequest } from '../http/requester.js'
import type { Pressure } from '../stream/pressure.js'
import type { Channel } from './channel/channel.js'
import type { ChannelRegistry } from './channel/registry.js'
import type { ChannelsOf, PollOptions } from './options.js'
import { beginPoll, type Poll } from './poll.js'
import type { StartPosition } from './reader/positions.js'
import { resumePositions } from './reader/resume.js'
import { channelNames, pollParams } from './requests.js'

type ResolvedPollOptions = Required<PollOptions>

/** @throws InvalidOptionError */
export function resolvePollOptions(options: PollOptions): ResolvedPollOptions {
  return {
    maxEvents: wholeNumber('maxEvents', options.maxEvents ?? 256, 1),
    maxBytes: wholeNumber('maxBytes', options.maxBytes ?? 1_048_576, 1),
    maxWaitMs: wholeNumber('maxWaitMs', options.maxWaitMs ?? 25_000, 0),
    pollMs: wholeNumber('pollMs', options.pollMs ?? 5000, 0),
  }
}

export interface PollOpenerOptions {
  readonly clock: Clock
  readonly registry: ChannelRegistry
  readonly pressure: Pressure
  readonly revocations: StoreRevocations | undefined
  readonly isClosing: () => boolean
}

export class PollOpener {
  readonly #options: PollOpenerOptions
  readonly #polls = new Set<Poll>()

  constructor(options: PollOpenerOptions) {
    this.#options = options
  }

  /** Resolves once the poll is answered, or its client has left. @throws Error if the poll is refused */
  async open(
    exchange: Exchange,
    req: StreamRequest,
    res: AnyResponse,
    channelsOf: ChannelsOf,
    { maxEvents, maxBytes, maxWaitMs, pollMs }: ResolvedPollOptions,
  ): Promise<void> {
    const { clock, registry, pressure, revocations, isClosing } = this.#options
    await exchange.turn()
    if (exchange.over) return
    const auth = authOf(req)
    const names = await channelNames(req, channelsOf, clock)
    discardBody(req)
    const params = pollParams(req)
    const streamPauseMs = (): number => {
      const askedMs = Math.max(0, params.pollUntil - clock.wallTime())
      return Math.max(pressure.pauseLeftMs, Math.min(pressure.pauseMs, askedMs))
    }
    const channels = await registry.acquire(names, params.cursor)
    const release = (): void => registry.release(channels)
    if (exchange.over) return release()
    const starts = this.#startPositions(channels, params.cursor, params.earliest, auth)
    // Opening the channels may have taken time.
    // `expiresAt` 0: the token does not expire.
    const tokenLeftMs = auth?.expiresAt ? auth.expiresAt - clock.wallTime() : maxWaitMs
    const waitMs = isClosing() ? 0 : Math.max(0, Math.min(params.waitMs, maxWaitMs, tokenLeftMs))
    const settings = { maxEvents, maxBytes, pollMs, waitMs, streamPauseMs }
    const poll = beginPoll(exchange, res, starts, settings, clock, { onReaderClosed: release })
    const watched = { auth, close: () => poll.end(tokenRevoked()) }
    this.#polls.add(poll)
    revocations?.watch(watched)
    // The multiplexer may have been closed while the channels were being opened.
    if (isClosing()) poll.end()
    await poll.done.finally(() => {
      this.#polls.delete(poll)
      revocations?.unwatch(watched)
    })
  }

  /** Answers all open polls with the events collected so far. */
  close(): void {
    for (const poll of this.#polls) poll.end()
  }

  /**
   * Releases the channels if the poll is refused.
   * @throws RequestError `ERR_SSE_TOKEN_REVOKED`, `ERR_SSE_TOKEN_EXPIRED`
   */
  #startPositions(
    channels: readonly Channel[],
    cursor: readonly Position[] | undefined,
    earliest: boolean,
    auth: Auth | undefined,
  ): readonly StartPosition[] {
    const { clock, registry, revocations } = this.#options
    try {
      revocations?.assertNotRevoked(auth)
      if (auth?.expiresAt && clock.wallTime() >= auth.expiresAt) throw tokenExpired()
      return resumePositions(channels, cursor, earliest)
    } catch (error) {
      registry.release(channels)
      throw error
    }
  }
}
