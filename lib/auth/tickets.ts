/**
 * One-use tickets, for clients that can send only a URL. A client with a token requests a ticket and uses it instead of
 * the token. Owns the form of a ticket and its entry in the store. Must not know HTTP.
 *
 * ```
 *   ticket:<SHA-256 of the ticket>  ─►  { user, tenant, expiresAt, claims, id, issuedAt, path }
 * ```
 *
 * The store contains only hashes, so its readers cannot use a ticket.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { compositeKey } from '../core/composite-key.js'
import { diagnostics, reportTo } from '../core/diagnostics.js'
import { isAuth } from '../http/auth-of.js'
import type { KeyValueStore } from '../store/store.js'
import { isObject } from './claims.js'
import { ticketInvalid } from './refusals.js'

/** 256 bits cannot be guessed. */
const TICKET_BYTES = 32
const TICKET = /^[\w-]{43}$/

/** An entry of the store. */
type TicketEntry = Readonly<Record<string, unknown>> & {
  /** `null` for `Infinity`, which JSON does not have. */
  readonly expiresAt: number | null
}

/** Issues a ticket for one request to `path`. @throws BrokerError if the store does not answer */
export async function issueTicket(store: KeyValueStore, auth: Auth, path: string, ttlMs: number): Promise<string> {
  const ticket = randomBytes(TICKET_BYTES).toString('base64url')
  const { user, tenant, expiresAt, claims, id, issuedAt } = auth
  const entry = { user, tenant, expiresAt, claims, id, issuedAt, path }
  await store.set(keyOf(ticket), JSON.stringify(entry), ttlMs)
  return ticket
}

/**
 * Consumes a ticket, also if it is refused. Of several concurrent callers exactly one can succeed.
 * @throws RequestError `ERR_SSE_TICKET_INVALID`: unknown, used, expired, for another path, or its token has expired
 * @throws BrokerError if the store does not answer
 */
export async function redeemTicket(store: KeyValueStore, ticket: string, path: string, clock: Clock): Promise<Auth> {
  const entry = TICKET.test(ticket) ? await store.take(keyOf(ticket)) : undefined
  if (entry === undefined) throw ticketInvalid()
  const { path: issuedFor, expiresAt, ...rest } = parseEntry(entry)
  const auth: unknown = { ...rest, expiresAt: expiresAt ?? Number.POSITIVE_INFINITY }
  if (issuedFor !== path || !isAuth(auth) || clock.wallTime() >= auth.expiresAt) throw ticketInvalid()
  return auth
}

/** An entry that is not the kit's belongs to no ticket: its members are checked like those of any other. */
function parseEntry(entry: string): TicketEntry {
  try {
    const value: unknown = JSON.parse(entry)
    if (isObject(value)) return value as TicketEntry
  } catch (error) {
    reportTo(diagnostics.storeError, 'read a ticket', error)
  }
  return { expiresAt: 0 }
}

/** The path that a ticket is issued for and compared with: the URL without its query. */
export function pathOf(url: string): string {
  return url.split(/[?#]/, 1)[0] ?? ''
}

function keyOf(ticket: string): string {
  return compositeKey('ticket', createHash('sha256').update(ticket).digest('base64url'))
}
