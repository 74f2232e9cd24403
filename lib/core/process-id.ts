import { randomBytes } from 'node:crypto'

/** A name for this process among those that share a broker, random. */
export function createProcessId(): string {
  return randomBytes(8).toString('hex')
}

/** Whether a text from outside may be one. */
export function isProcessId(text: string | undefined): text is string {
  return text !== undefined && /^[0-9a-f]{16}$/.test(text)
}
