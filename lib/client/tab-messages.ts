/**
 * The messages of tabs to each other. Owns their form: tabs may run different versions of the kit, and any script of
 * the origin can post to the channel, so a message of another form is ignored.
 */
import { EventStreamError } from './error.js'
import type { ClientEvent } from './listeners.js'
import type { ClientStateChange } from './options.js'

export type TabMessage =
  | { readonly kind: 'leads' | 'reconnect' }
  | { readonly kind: 'hello'; readonly from: string; readonly position: string }
  | { readonly kind: 'welcome'; readonly to: string; readonly from: string; readonly events: readonly ClientEvent[] }
  | { readonly kind: 'event'; readonly before: string; readonly event: ClientEvent }
  | { readonly kind: 'state'; readonly change: ClientStateChange }

/** The members of an object; all `undefined` for any other value. */
type Members = { readonly [name: string]: unknown }

const STATES: readonly unknown[] = ['connecting', 'open', 'polling', 'waiting', 'closed']

const FORMS: { readonly [kind in TabMessage['kind']]: (message: Members) => boolean } = {
  leads: () => true,
  reconnect: () => true,
  hello: ({ from, position }) => areTexts(from, position),
  welcome: ({ to, from, events }) => areTexts(to, from) && Array.isArray(events) && events.every(isEvent),
  event: ({ before, event }) => areTexts(before) && isEvent(event),
  state: ({ change }) => isChange(membersOf(change)),
}

/** @returns `undefined` for a message of another form */
export function readMessage(message: unknown): TabMessage | undefined {
  const members = membersOf(message)
  const { kind } = members
  const isKnown = typeof kind === 'string' && Object.hasOwn(FORMS, kind)
  return isKnown && FORMS[kind as TabMessage['kind']](members) ? (message as TabMessage) : undefined
}

function membersOf(value: unknown): Members {
  return typeof value === 'object' && value !== null ? (value as Members) : {}
}

function areTexts(...values: readonly unknown[]): boolean {
  return values.every((value) => typeof value === 'string')
}

function isEvent(value: unknown): boolean {
  const { type, data, id } = membersOf(value)
  return areTexts(type, data, id)
}

function isChange({ state, reason = '', delayMs = 0, error }: Members): boolean {
  const { code, message, status = 0 } = membersOf(error)
  const isRight = STATES.includes(state) && areTexts(reason) && typeof delayMs === 'number'
  return isRight && (error === undefined || (areTexts(code, message) && typeof status === 'number'))
}

/** Structured clones keep only the standard properties of an Error, so the error is sent as a plain object. */
export function stateMessage({ error, ...change }: ClientStateChange): TabMessage {
  const plain = error && { code: error.code, message: error.message, status: error.status }
  return { kind: 'state', change: { ...change, ...(plain && { error: plain as EventStreamError }) } }
}

export function restoreError({ error, ...change }: ClientStateChange): ClientStateChange {
  return error === undefined
    ? change
    : { ...change, error: new EventStreamError(error.code, error.message, error.status) }
}
