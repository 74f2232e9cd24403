/**
 * commands ─► **publish calls** ─► publish script: which publications share a call. Owns the collection of the
 * publications that are sent in one write, and the distribution of the replies. Must not know outcomes or retries: each
 * publication has its own.
 *
 * With 100 channels in a tick, sharing saves Redis about a quarter of the CPU (`npm run bench -- publish`).
 */
import { isCluster } from '../../redis/connect.js'
import type { Send, WriteListener } from '../../redis/connection.js'
import type { PublishAttempts } from './attempts.js'
import {
  type Publication,
  type PublicationReply,
  type PublishScriptOptions,
  sendPublications,
} from './publish-script.js'
import type { RedisWithScripts } from './scripts.js'

/** The bounds of one call, because Redis does nothing else meanwhile. Only one publication may exceed the bytes. */
const MAX_PUBLICATIONS = 64
const MAX_BYTES = 1_048_576

/** A publication, and who waits for its reply. */
interface Collected {
  readonly publication: Publication
  /** Is notified when the call is written. */
  readonly listener: WriteListener
  readonly resolve: (reply: PublicationReply) => void
  readonly reject: (error: unknown) => void
}

/** The replies to the publications of a call, in their order. */
type Replies = readonly (PublicationReply | Error)[]

/** Sends commands, and notifies the listeners when they are written. */
type SendFor = (listeners: readonly WriteListener[], send: Send<Replies, RedisWithScripts>) => Promise<Replies>

export class PublishCalls {
  readonly #sendFor: SendFor
  readonly #attempts: PublishAttempts
  readonly #options: PublishScriptOptions
  /** `undefined`: each publication is sent immediately, in a call of its own. */
  #collected: Collected[] | undefined
  #bytes = 0

  constructor(sendFor: SendFor, attempts: PublishAttempts, options: PublishScriptOptions) {
    this.#sendFor = sendFor
    this.#attempts = attempts
    this.#options = options
  }

  /** Calls `send`. The publications that it sends share calls, which are sent before this method returns. */
  collect(send: () => void): void {
    this.#collected = []
    try {
      send()
    } finally {
      this.#sendCollected()
      this.#collected = undefined
    }
  }

  /**
   * Sends a publication. In a cluster it has a call of its own, because each channel is in another slot.
   * @param listener is notified when the publication is written
   */
  publish(client: RedisWithScripts, publication: Publication, listener: WriteListener): Promise<PublicationReply> {
    const collected = this.#collected
    return new Promise((resolve, reject) => {
      const only = { publication, listener, resolve, reject }
      if (collected === undefined || isCluster(client)) distribute(this.#call(client, [publication]), [only])
      else this.#collect(collected, only)
    })
  }

  #collect(collected: Collected[], next: Collected): void {
    const bytes = next.publication.payload.length
    if (collected.length === MAX_PUBLICATIONS || (collected.length > 0 && this.#bytes + bytes > MAX_BYTES)) {
      this.#sendCollected()
    }
    this.#bytes += bytes
    collected.push(next)
  }

  #sendCollected(): void {
    const collected = this.#collected?.splice(0) ?? []
    this.#bytes = 0
    if (collected.length === 0) return
    const publications = collected.map(({ publication }) => publication)
    const listeners = collected.map(({ listener }) => listener)
    distribute(
      this.#sendFor(listeners, (client) => this.#call(client, publications)),
      collected,
    )
  }

  async #call(client: RedisWithScripts, publications: readonly Publication[]): Promise<Replies> {
    const attempts = this.#attempts
    const call = sendPublications(client, publications, this.#options, attempts.deadline)
    const [, ...replies] = await attempts.settle(call)
    return replies
  }
}

/** Passes each publication its reply, or the error of the call. */
function distribute(call: Promise<Replies>, publications: readonly Collected[]): void {
  call.then(
    (replies) => {
      for (const [i, { resolve, reject }] of publications.entries()) {
        const reply = replies[i] as Replies[number]
        if (reply instanceof Error) reject(reply)
        else resolve(reply)
      }
    },
    (error: unknown) => {
      for (const { reject } of publications) reject(error)
    },
  )
}
