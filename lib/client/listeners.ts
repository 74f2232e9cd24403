/** Who hears which events. An error of one listener is reported and keeps nothing from the others. */

export class ClientEvent<Data = unknown> {
  /** The event's type; `message` where the server named none. */
  readonly type: string
  /** The data as sent. */
  readonly data: string
  /** The position after this event; '' where it has none: the kit's own control events, ephemeral ones. */
  readonly id: string

  constructor(type: string, data: string, id: string) {
    this.type = type
    this.data = data
    this.id = id
  }

  /** The data as JSON. @throws SyntaxError */
  json(): Data {
    return JSON.parse(this.data) as Data
  }
}

/** Called with each event of the type that it listens to. */
export type ClientListener<Data = unknown> = (event: ClientEvent<Data>) => void

export interface Listeners {
  readonly types: () => Iterable<string>
  /** @returns the way to stop */
  // biome-ignore lint/suspicious/noExplicitAny: each listener knows the data of its type
  add(type: string, listener: ClientListener<any>): () => void
  emit(event: ClientEvent): void
}

export function createListeners(): Listeners {
  const byType = new Map<string, Set<ClientListener>>()
  return {
    types: () => byType.keys(),
    add(type, listener) {
      const ofType = byType.get(type) ?? new Set()
      byType.set(type, ofType.add(listener))
      return () => ofType.delete(listener)
    },
    emit(event) {
      for (const type of new Set([event.type, '*'])) {
        for (const listener of byType.get(type) ?? []) guarded(listener, event)
      }
    },
  }
}

/** Calls what is not ours: what it throws goes where uncaught errors go, and we go on. */
export function guarded<Value>(call: ((value: Value) => void) | undefined, value: Value): void {
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
