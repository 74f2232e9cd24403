import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below where Linux takes ports for outgoing connections (32,768): what is free here stays so until it is used. */
const [FIRST, LAST] = [10_000, 30_000]

// Test runs side by side begin at different places.
let next = FIRST + Math.floor(Math.random() * (LAST - FIRST))

/** A loopback port that nothing listens on, and that no other call in this process has given. */
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
