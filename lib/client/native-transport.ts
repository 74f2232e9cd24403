import type { Connection } from './fetch-transport.js'

/**
 * One connection by the browser's EventSource. Closes it at the first error, because its own reconnect would reuse a
 * ticket, which is valid once. Also closes it while the consumer's queue is full, because it cannot be read more
 * slowly.
 * @throws Error if no event arrived
 */
export function connectNative(connection: Connection): Promise<void> {
  const { url, cursor, signal, options, types, onListen, onAlive, onEvent, onRead, room } = connection
  if (cursor !== '') url.searchParams.set('last_event_id', cursor)
  return new Promise((resolve, reject) => {
    const source = new EventSource(url, { withCredentials: options.credentials === 'include' })
    const knownTypes = new Set<string>()
    let hasEvents = false
    let lastId = ''
    const listen = (type: string): void => {
      if (knownTypes.has(type)) return
      knownTypes.add(type)
      source.addEventListener(type, (event) => {
        if (!(event instanceof MessageEvent)) return
        const { data, lastEventId } = event as MessageEvent<string>
        hasEvents = true
        onAlive()
        // An event without an id has the `lastEventId` of the event before.
        onEvent({ event: type, data, id: lastEventId === lastId ? undefined : lastEventId })
        lastId = lastEventId
        const isFull = room() !== undefined
        onRead(isFull)
        if (isFull) end()
      })
    }
    const end = (): void => {
      source.close()
      if (hasEvents) resolve()
      else reject(new Error('EventSource could not connect'))
    }
    for (const type of types) listen(type)
    onListen(listen)
    // A server may send events of type `error`: those are MessageEvents. EventSource's own error is a plain Event.
    source.onerror = (event) => event instanceof MessageEvent || end()
    signal.addEventListener('abort', end)
  })
}
