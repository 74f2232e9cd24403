/**
 * simulated customers ─► inbound ─► store ─► streams: messages for the comparison page, on the same path as those of a
 * webhook. Bounded in rate and time, with one run for each tenant, so that a forgotten page does no harm.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { InboundMessage, Multiplexer } from 'express-sse-kit'
import { conversationIdOf, receiveMessage } from '../inbound.js'
import type { LogLine } from '../log.js'
import type { InboxStore } from '../store/inbox-store.js'
import type { Tenant } from '../tenants.js'

const EVERY_MS = 2000
const LASTS_MS = 120_000

/** The page shows the conversation of the first customer, who writes as many messages as the others together. */
const CUSTOMERS = [
  { from: '15550100', name: 'Ada Park' },
  { from: '15550101', name: 'Ben Sow' },
  { from: '15550102', name: 'Cleo Ruiz' },
] as const

const LINES = [
  'Hello, is anybody there?',
  'Could you look up my order?',
  'It was two tents and a stove.',
  'The parcel says it is in Leipzig.',
  'Oh, now it has moved!',
  'Will it be here by Friday?',
  'Otherwise I would pick it up.',
  'Thank you so much.',
] as const

/** The state that the page gets. */
export interface TrafficState {
  /** The conversation to open. */
  readonly conversationId: string
  /** When the current run ends, in ms since 1970. `null`: there is no run. */
  readonly endsAt: number | null
  /** The server's clock, in ms since 1970. The times of messages are relative to this clock. */
  readonly now: number
}

export interface TrafficOptions {
  readonly store: InboxStore
  readonly multiplexer: Multiplexer
  readonly log: LogLine
}

interface Run {
  readonly endsAt: number
  readonly stopping: AbortController
}

export class Traffic {
  readonly #store: InboxStore
  readonly #log: LogLine
  readonly #receive: (message: InboundMessage) => Promise<void>
  readonly #runs = new Map<string, Run>()

  constructor({ store, multiplexer, log }: TrafficOptions) {
    this.#store = store
    this.#log = log
    this.#receive = receiveMessage({ store, multiplexer, log })
  }

  /**
   * Also creates the conversation, so that a page can open it before the first message.
   * @throws StoreUnavailableError
   */
  async state(tenant: Tenant): Promise<TrafficState> {
    const { provider, id: accountId } = accountOf(tenant)
    const [{ from, name }] = CUSTOMERS
    const id = conversationIdOf(provider, accountId, from)
    await this.#store.upsertConversation({ id, tenant: tenant.id, provider, accountId, contactId: from, contact: name })
    return { conversationId: id, endsAt: this.#runs.get(tenant.id)?.endsAt ?? null, now: Date.now() }
  }

  /** Starts a run. If there is one already, it continues and ends at its time. */
  start(tenant: Tenant): void {
    if (this.#runs.has(tenant.id)) return
    const run = { endsAt: Date.now() + LASTS_MS, stopping: new AbortController() }
    this.#runs.set(tenant.id, run)
    void this.#write(tenant, run)
  }

  stop(tenantId: string): void {
    this.#runs.get(tenantId)?.stopping.abort()
    this.#runs.delete(tenantId)
  }

  /** Idempotent. */
  close(): void {
    for (const tenantId of [...this.#runs.keys()]) this.stop(tenantId)
  }

  async #write(tenant: Tenant, { endsAt, stopping: { signal } }: Run): Promise<void> {
    for (let count = 0; !signal.aborted && Date.now() < endsAt; count++) {
      try {
        await this.#receive(messageOf(tenant, count))
      } catch (error) {
        // Redis may be available again for the next message.
        this.#log('warn', 'compare.traffic', { error })
      }
      // Rejects when it is aborted; the loop checks the signal.
      await sleep(EVERY_MS, undefined, { signal, ref: false }).catch(() => undefined)
    }
    if (!signal.aborted) this.stop(tenant.id)
  }
}

/** @throws TypeError if a tenant of the demo has no account */
function accountOf({ id, accounts: [account] }: Tenant): Tenant['accounts'][number] {
  if (account === undefined) throw new TypeError(`The tenant ${id} has no account that can receive messages`)
  return account
}

function messageOf(tenant: Tenant, count: number): InboundMessage {
  const { provider, id: accountId } = accountOf(tenant)
  const { from, name } = CUSTOMERS[count % 2 === 0 ? 0 : count % 4 === 1 ? 1 : 2]
  return {
    provider,
    accountId,
    messageId: `compare-${randomUUID()}`,
    from,
    fromName: name,
    text: LINES[Math.floor(count / 2) % LINES.length] ?? LINES[0],
    kind: 'text',
    at: Date.now(),
    raw: undefined,
  }
}
