/**
 * One-use tickets, for clients that can send nothing but a URL: made for who has a token, redeemed instead of it. Owns what a
 * ticket is and what is kept of it; must not know HTTP.
 *
 * ```
 *   ticket:<SHA-256 of the ticket>  ─►  { user, tenant, expiresAt, claims, id, issuedAt, path }     for ttlMs, or until redeemed
 * ```
 *
 * Who reads the store finds no ticket that could be used.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { compositeKey } from '../core/composite-key.js'
import { isAuth } from '../http/auth-of.js'
import type { KeyValueStore } from '../store/store.js'
import { ticketInvalid } from './refusals.js'

/** 256 bits, so that trying is hopeless. */
const TICKET_BYTES = 32
const TICKET = /^[\w-]{43}$/

/** As read from the store. */
type TicketEntry = Readonly<Record<string, unknown>> & {
  /** JSON has no `Infinity`: null. */
  readonly expiresAt: number | null
}

/** Makes a ticket for one request to `path`. @throws BrokerError where the store does not answer */
export async function issueTicket(store: KeyValueStore, auth: Auth, path: string, ttlMs: number): Promise<string> {
  const ticket = randomBytes(TICKET_BYTES).toString('base64url')
  const { user, tenant, expiresAt, claims, id, issuedAt } = auth
  const entry = { user, tenant, expiresAt, claims, id, issuedAt, path }
  await store.set(keyOf(ticket), JSON.stringify(entry), ttlMs)
  return ticket
}

/**
 * Uses a ticket up, whatever comes of it. Exactly one of any number of concurrent callers can succeed.
 * @throws RequestError `ERR_SSE_TICKET_INVALID`: unknown, used, run out, of another path, or its token has expired
 * @throws BrokerError where the store does not answer
 */
export async function redeemTicket(store: KeyValueStore, ticket: string, path: string, clock: Clock): Promise<Auth> {
  const entry = TICKET.test(ticket) ? await store.take(keyOf(ticket)) : undefined
  if (entry === undefined) throw ticketInvalid()
  const { path: issuedFor, expiresAt, ...rest } = JSON.parse(entry) as TicketEntry
  const auth: unknown = { ...rest, expiresAt: expiresAt ?? Number.POSITIVE_INFINITY }
  if (issuedFor !== path || !isAuth(auth) || clock.wallTime() >= auth.expiresAt) throw ticketInvalid()
  return auth
}

/** A path as tickets are made for and compared with: without its query. */
export function pathOf(url: string): string {
  return url.split(/[?#]/, 1)[0] ?? ''
}

function keyOf(ticket: string): string {
  return compositeKey('ticket', createHash('sha256').update(ticket).digest('base64url'))
}
