/** Reads a response at a limited speed, so that bytes wait in the socket: real backpressure. */
import type { IncomingMessage } from 'node:http'

const TICK_MS = 50

/**
 * Resolves when all bytes have been read, and rejects when the connection breaks.
 * @param bytesPerSecond called continuously, so the speed may change. 0: reads nothing. `null`: reads without a limit.
 */
export function readSlowly(
  response: IncomingMessage,
  bytesPerSecond: () => number | null,
  onBytes: (bytes: Buffer) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let allowance = 0
    const read = (): void => {
      for (;;) {
        const size = Math.min(response.readableLength, bytesPerSecond() === null ? Number.POSITIVE_INFINITY : allowance)
        // Nothing may be read now. If nothing is buffered either, `read()` must be called to detect the end.
        if (size < 1 && (response.readableLength > 0 || bytesPerSecond() === 0)) return
        const bytes = response.read(Math.floor(size) || undefined) as Buffer | null
        if (bytes === null) return
        allowance -= bytes.length
        onBytes(bytes)
      }
    }
    const timer = setInterval(() => {
      const perTick = ((bytesPerSecond() ?? 0) * TICK_MS) / 1000
      // Unused allowance does not accumulate, except for speeds below one byte a tick.
      allowance = Math.min(Math.max(0, allowance) + perTick, Math.max(1, perTick))
      read()
    }, TICK_MS)
    response.on('readable', read)
    response.on('end', resolve)
    response.on('error', reject)
    const onClose = (): void => {
      clearInterval(timer)
      reject(new Error('The connection broke'))
    }
    response.on('close', onClose)
    if (response.destroyed) onClose()
  })
}
