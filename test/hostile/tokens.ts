/**
 * Tokens and tickets with changed bytes, other algorithms, keys and claims, and with a right signature over odd claims.
 * The answer is 401 or 403 with a code, or the session that the claims name: never a byte of another tenant.
 */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { Random } from '../proof/random.js'
import { type Area, type Findings, inParallel } from './area.js'
import { BITS, hostileText, hostileValue, mutate } from './hostile-text.js'
import { FOREIGN_TOKEN, KEY, SECRET, Site, TOKEN, tokenOf } from './site.js'

const WIDTH = 8
const NOW_S = Math.floor(Date.now() / 1000)
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 })
const EDWARDS = generateKeyPairSync('ed25519')

const base64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

function hmac(text: string, key: string | Buffer = KEY, hash = 'sha256'): string {
  return createHmac(hash, key).update(text).digest('base64url')
}

function signed(header: unknown, payload: unknown, key?: string | Buffer): string {
  const text = `${base64(header)}.${base64(payload)}`
  return `${text}.${hmac(text, key)}`
}

function pem(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }) as string
}

const CLAIMS = { sub: 'mallory', tenant: 'globex', exp: NOW_S + 3600 }

/** Tokens that name the other tenant, but are not signed with the key of the server. */
const FORGED: readonly ((random: Random) => string)[] = [
  () => `${base64({ alg: 'none' })}.${base64(CLAIMS)}.`,
  () => `${base64({ alg: 'none' })}.${base64(CLAIMS)}.x`,
  (random) =>
    `${base64({ alg: random.pick(['None', 'NONE', '', null, 'HS256 ', 'hs256', 'HS1', ['HS256']]) })}.${base64(CLAIMS)}.x`,
  () => signed({ alg: 'HS256' }, CLAIMS, ''),
  () => signed({ alg: 'HS256' }, CLAIMS, pem(RSA.publicKey)),
  () => signed({ alg: 'HS256' }, CLAIMS, `${KEY} `),
  () => {
    const text = `${base64({ alg: 'RS256' })}.${base64(CLAIMS)}`
    return `${text}.${sign('sha256', Buffer.from(text), RSA.privateKey).toString('base64url')}`
  },
  () => {
    const text = `${base64({ alg: 'EdDSA' })}.${base64(CLAIMS)}`
    return `${text}.${sign(null, Buffer.from(text), EDWARDS.privateKey).toString('base64url')}`
  },
  () => {
    const text = `${base64({ alg: 'HS512' })}.${base64(CLAIMS)}`
    return `${text}.${hmac(text, KEY, 'sha512')}`
  },
  (random) =>
    signed(
      { alg: 'HS256', kid: random.pick(['../../dev/null', hostileText(random)]), jwk: { k: base64(KEY) } },
      CLAIMS,
      'x',
    ),
  // The signature of one token on the claims of another.
  () => [TOKEN.split('.')[0], base64(CLAIMS), TOKEN.split('.')[2]].join('.'),
  (random) => {
    const [header = '', payload = '', signature = ''] = TOKEN.split('.')
    const parts = [header, payload, signature]
    const at = random.below(3)
    const bytes = Buffer.from(parts[at] as string, 'base64url')
    parts[at] = mutate(bytes, random).toString('base64url')
    return parts.join('.')
  },
  (random) => mutate(Buffer.from(TOKEN), random).toString('latin1'),
  (random) => hostileText(random, 1),
  (random) => `${TOKEN}.${random.pick(['', 'x', TOKEN])}`,
]

/** Right signatures over odd claims. None of them may become a session of the other tenant. */
function oddClaims(random: Random): string {
  const name = (): unknown =>
    random.pick([
      hostileText(random),
      `${hostileText(random, 1)}globex`,
      ['globex'],
      { toString: 'globex' },
      0,
      -0,
      1e21,
      true,
      null,
      '',
      '__proto__',
      'x'.repeat(10_000),
      'x'.repeat(256),
      'globex\0',
      'globex ',
      'GLOBEX',
      '%67lobex',
      'globex:1',
      '..',
      '*',
    ])
  const claims: Record<string, unknown> = { sub: 'mallory', tenant: 'acme', exp: NOW_S + 3600, iat: NOW_S }
  if (random.chance(0.5)) claims.sub = name()
  if (random.chance(0.6)) claims.tenant = name()
  if (random.chance(0.3))
    claims.exp = random.pick([0, -1, 1e300, 253_402_300_800, '9999999999', null, NOW_S - 1, 1.5, true])
  if (random.chance(0.2)) claims.nbf = random.pick([0, 'x', NOW_S + 1e6, null, -1])
  if (random.chance(0.2)) claims.iat = hostileValue(random)
  if (random.chance(0.2)) claims.jti = hostileValue(random)
  if (random.chance(0.2)) claims[hostileText(random)] = hostileValue(random)
  let payload = JSON.stringify(claims)
  if (random.chance(0.1)) payload = `{"tenant":"acme","tenant":${JSON.stringify(name())},${payload.slice(1)}`
  if (random.chance(0.1)) payload = payload.replace('{', `{"__proto__":{"tenant":"globex","sub":"ada"},`)
  if (random.chance(0.05)) payload = random.pick(['null', '[]', '1', '"x"', '{}', '', payload.slice(1), `[${payload}]`])
  const header: Record<string, unknown> = { alg: 'HS256', typ: 'JWT' }
  if (random.chance(0.1)) header.crit = ['exp']
  if (random.chance(0.1)) header.kid = hostileValue(random)
  if (random.chance(0.1)) header.typ = hostileValue(random)
  return signed(header, payload)
}

interface Answer {
  readonly status: number
  readonly text: string
}

async function send(site: Site, path: string, headers: Record<string, string>, body?: unknown): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${site.port}${path}`, {
    headers,
    ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
  })
  return { status: response.status, text: await response.text() }
}

function check({ status, text }: Answer, allowed: readonly number[], what: string, findings: Findings): void {
  findings.count(status)
  if (text.includes(SECRET)) findings.violate(`foreign bytes: ${what}`)
  if (!allowed.includes(status)) findings.violate(`${status} ${text.slice(0, 200)}: ${what}`)
  else if (status >= 400 && status !== 431 && !/"code":"ERR_SSE_\w+"/.test(text))
    findings.violate(`no code: ${text.slice(0, 200)}`)
}

/** Sends the token in one of the ways that tokens may come. */
function request(site: Site, token: string, random: Random): Promise<Answer> {
  const path = random.pick([
    '/dashboard/init',
    '/sse/poll/conversations?from=earliest',
    '/sse/poll/messages/1?from=earliest',
  ])
  // Header values have no other characters; those of the query may.
  if (random.chance(0.7) && /^[\x20-\x7e]*$/.test(token)) return send(site, path, { authorization: `Bearer ${token}` })
  const mark = path.includes('?') ? '&' : '?'
  return send(site, `${path}${mark}token=${encodeURIComponent(token.toWellFormed())}`, {})
}

async function tokenCase(site: Site, random: Random, findings: Findings): Promise<void> {
  if (random.chance(0.5)) {
    const token = random.pick(FORGED)(random)
    const [, payload = ''] = token.split('.')
    // A change that changes nothing that is read, such as an unused bit at the end, leaves the attacker's own session.
    const isOwn = payload === TOKEN.split('.')[1]
    check(
      await request(site, token, random),
      isOwn ? [200, 401] : [401, 431],
      `forged ${token.slice(0, 300)}`,
      findings,
    )
    return
  }
  const token = oddClaims(random)
  // 400: the name of the tenant is too long for a channel.
  check(
    await request(site, token, random),
    [200, 400, 401, 431],
    `claims ${Buffer.from(token.split('.')[1] ?? '', 'base64url')
      .toString()
      .slice(0, 300)}`,
    findings,
  )
}

async function ticketOf(site: Site, token: string, path: string): Promise<string> {
  const { text } = await send(site, '/tickets', { authorization: `Bearer ${token}` }, { path })
  return (JSON.parse(text) as { ticket: string }).ticket
}

async function ticketCase(site: Site, random: Random, findings: Findings): Promise<void> {
  const path = '/dashboard/init'
  const own = await ticketOf(site, TOKEN, path)
  const use = (ticket: string, at = path, headers = {}): Promise<Answer> =>
    send(site, `${at}?ticket=${encodeURIComponent(ticket.toWellFormed())}`, headers)
  switch (random.below(6)) {
    case 0: {
      const changed = mutate(Buffer.from(own), random).toString('latin1')
      return check(await use(changed), changed === own ? [200] : [401], 'a changed ticket', findings)
    }
    case 1: {
      const answers = await Promise.all([use(own), use(own), use(own)])
      for (const answer of answers) check(answer, [200, 401], 'a ticket used at once', findings)
      if (answers.filter(({ status }) => status === 200).length !== 1) findings.violate('a ticket was used twice')
      return check(await use(own), [401], 'a used ticket', findings)
    }
    case 2: {
      const other = random.pick(['/dashboard/init/', '/DASHBOARD/init', '//dashboard/init', '/sse/poll/conversations'])
      return check(await use(own, other), [401, 404], `a ticket for another path: ${other}`, findings)
    }
    case 3: {
      // The ticket of the other tenant, for another path than it was issued for.
      const foreign = await ticketOf(site, FOREIGN_TOKEN, '/own')
      return check(await use(foreign), [401], 'a foreign ticket', findings)
    }
    case 4:
      return check(
        await use(random.pick([hostileText(random, 1), `${own}${random.pick(BITS)}`, own.slice(1)])),
        [401],
        'no ticket',
        findings,
      )
    default: {
      const body = random.pick([
        hostileValue(random),
        { path: hostileValue(random) },
        { path: `/${hostileText(random)}` },
      ])
      return check(
        await send(site, '/tickets', { authorization: `Bearer ${TOKEN}` }, body),
        [200, 400, 413],
        'a request',
        findings,
      )
    }
  }
}

export const tokens: Area = {
  name: 'tokens',
  about: 'changed, forged and odd tokens and tickets',
  async run(cases, random, findings) {
    const site = await Site.start({ findings })
    try {
      const control = await send(site, '/dashboard/init', { authorization: `Bearer ${tokenOf('ada', 'globex')}` })
      if (!control.text.includes(SECRET)) findings.violate('the other tenant does not get its own bytes')
      await inParallel(cases, WIDTH, async (number) => {
        const run = random.chance(0.75) ? tokenCase : ticketCase
        await findings.case(
          () => `case ${number} (${run.name})`,
          () => run(site, random, findings),
        )
      })
      await site.assertHealthy()
    } finally {
      await site.stop()
    }
  },
}
