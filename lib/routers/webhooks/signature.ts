import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

const SIGNATURE = /^sha256=([0-9a-f]{64})$/i

/**
 * Whether `X-Hub-Signature-256` is the HMAC of exactly these bytes under one of the secrets. All secrets are tried in any
 * case, and each comparison takes the same time wherever the first difference is.
 */
export function isSigned(body: Buffer, header: unknown, secrets: readonly string[]): boolean {
  const hex = typeof header === 'string' ? SIGNATURE.exec(header)?.[1] : undefined
  if (hex === undefined) return false
  const given = Buffer.from(hex, 'hex')
  let signed = false
  for (const secret of secrets) {
    if (timingSafeEqual(createHmac('sha256', secret).update(body).digest(), given)) signed = true
  }
  return signed
}

/** Compares texts of any lengths without telling by the time where, or in what length, they differ. */
export function isSameSecret(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
