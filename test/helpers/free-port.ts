import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * Below the range that Linux uses for outgoing connections (from 32,768), so that a free port stays free until it is
 * used.
 */
const [FIRST, LAST] = [10_000, 30_000]

// Concurrent test runs start at different ports.
let next = FIRST + Math.floor(Math.random() * (LAST - FIRST))

/** A loopback port without a listener, which no other call in this process has returned. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = next
    next = port < LAST ? port + 1 : FIRST
    const server = createServer()
    try {
      await once(server.listen(port, '127.0.0.1'), 'listening')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') continue
      throw error
    }
    server.close()
    await once(server, 'close')
    return port
  }
}
