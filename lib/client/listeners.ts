/** The event and its listeners. An error of one listener is reported and does not affect the others. */

export class ClientEvent<Data = unknown> {
  /** The event's type; `message` if the server sent none. */
  readonly type: string
  /** The data as sent. */
  readonly data: string
  /** The cursor after this event. '' on events that are not in a log: most control events, and ephemeral events. */
  readonly id: string

  constructor(type: string, data: string, id: string) {
    this.type = type
    this.data = data
    this.id = id
  }

  /** Parses the data as JSON. @throws SyntaxError */
  json(): Data {
    return JSON.parse(this.data) as Data
  }
}

/** Called with each event of the type that it listens to. */
export type ClientListener<Data = unknown> = (event: ClientEvent<Data>) => void

/** Functions that are called with a value. A function that is registered twice has two registrations. */
export interface Callbacks<Value> {
  /** @returns removes this registration */
  add(callback: (value: Value) => void): () => void
  call(value: Value): void
}

export function createCallbacks<Value>(): Callbacks<Value> {
  const registrations = new Set<{ readonly callback: (value: Value) => void }>()
  return {
    add(callback) {
      const registration = { callback }
      registrations.add(registration)
      return () => registrations.delete(registration)
    },
    call(value) {
      // A copy: a callback that is replaced during the call would otherwise be called again, without end.
      for (const registration of [...registrations]) {
        if (registrations.has(registration)) callSafely(registration.callback, value)
      }
    },
  }
}

export interface EventListeners {
  /** The types that have had listeners. */
  readonly types: () => Iterable<string>
  /** @returns removes the listener */
  // biome-ignore lint/suspicious/noExplicitAny: each listener knows the data type of its event type
  add(type: string, listener: ClientListener<any>): () => void
  emit(event: ClientEvent): void
}

export function createEventListeners(): EventListeners {
  const byType = new Map<string, Callbacks<ClientEvent>>()
  return {
    types: () => byType.keys(),
    add(type, listener) {
      const ofType = byType.get(type) ?? createCallbacks<ClientEvent>()
      byType.set(type, ofType)
      return ofType.add(listener)
    },
    emit(event) {
      for (const type of new Set([event.type, '*'])) byType.get(type)?.call(event)
    },
  }
}

/** Calls a callback of the application. Reports its error as uncaught instead of throwing it. */
export function callSafely<Value>(call: ((value: Value) => void) | undefined, value: Value): void {
  try {
    call?.(value)
  } catch (error) {
    if (typeof reportError === 'function') reportError(error)
    else
      queueMicrotask(() => {
        throw error
      })
  }
}
