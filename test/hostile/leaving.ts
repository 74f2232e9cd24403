import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { Random } from '../proof/random.js'
import { turns } from './area.js'

const MAX_WAIT_MS = 50

/** Resolves when a socket or session has closed, whatever errors it has before. */
function closeOf(emitter: EventEmitter): Promise<void> {
  return new Promise((resolve) => {
    emitter.once('close', () => resolve())
  })
}

/** Waits until the server has answered something. A request without an end has no answer, so not for long. */
export async function firstAnswer(socket: Socket): Promise<void> {
  if (socket.bytesRead > 0 || socket.destroyed) return
  let timer: NodeJS.Timeout | undefined
  await new Promise<void>((resolve) => {
    for (const event of ['data', 'end', 'close']) socket.once(event, () => resolve())
    timer = setTimeout(resolve, MAX_WAIT_MS)
  })
  clearTimeout(timer)
}

/** Leaves in one of the ways of clients: half-closed for a while, reset, or closed. */
export async function leave(socket: Socket, random: Random): Promise<void> {
  if (socket.destroyed) return
  const closed = closeOf(socket)
  if (random.chance(0.4)) {
    // The server may still answer.
    socket.end()
    await turns(random.below(20))
  } else if (random.chance(0.5)) {
    socket.resetAndDestroy()
  }
  socket.destroy()
  await closed
}
