import type { Connection } from './fetch-transport.js'

/**
 * One connection by the browser's EventSource. Its own reconnecting is not used, for it would come back with the same ticket: it is closed at the first error, and
 * while the consumer is behind, since it cannot be read more slowly.
 * @throws Error if it never opened
 */
export function connectNative(connection: Connection): Promise<void> {
  const { url, cursor, signal, options, types, onListen, onAlive, onEvent, onRead, room } = connection
  if (cursor !== '') url.searchParams.set('last_event_id', cursor)
  return new Promise((resolve, reject) => {
    const source = new EventSource(url, { withCredentials: options.credentials === 'include' })
    const heard = new Set<string>()
    let opened = false
    let lastId = ''
    const listen = (type: string): void => {
      if (heard.has(type)) return
      heard.add(type)
      source.addEventListener(type, (event) => {
        if (!(event instanceof MessageEvent)) return
        const { data, lastEventId } = event as MessageEvent<string>
        opened = true
        onAlive()
        // Sticky there: on an event without an id it is still the last one's.
        onEvent({ event: type, data, id: lastEventId === lastId ? undefined : lastEventId })
        lastId = lastEventId
        const full = room() !== undefined
        onRead(full)
        if (full) end()
      })
    }
    const end = (): void => {
      source.close()
      if (opened) resolve()
      else reject(new Error('EventSource could not connect'))
    }
    for (const type of types) listen(type)
    onListen(listen)
    // A server's events may be called so too: its own `open` and `error` are no messages.
    source.onerror = (event) => event instanceof MessageEvent || end()
    signal.addEventListener('abort', end)
  })
}
