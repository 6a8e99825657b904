import { describe, expect, test } from 'vitest'
import { distance, ratio, visions } from './contrast'
import { accent, families, families_of_work, glyph, icons, looks, mask, surface } from './states'

const schemes = ['light', 'dark'] as const

describe.each(schemes)('%s colours', (scheme) => {
  test.each(Object.entries(families))('%s can be read', (_, family) => {
    const { fill, ink, tint } = family[scheme]
    expect(ratio(fill, surface[scheme])).toBeGreaterThanOrEqual(3)
    expect(ratio(ink, tint)).toBeGreaterThanOrEqual(4.5)
    expect(ratio(ink, surface[scheme])).toBeGreaterThanOrEqual(4.5)
    expect(ratio(glyph[scheme], fill)).toBeGreaterThanOrEqual(3.5)
  })

  test('links can be read', () => {
    expect(ratio(accent[scheme], surface[scheme])).toBeGreaterThanOrEqual(4.5)
  })

  // What the design measured. A colour that comes closer to another one is a change of the design.
  const least = {
    light: { normal: 18.9, deuteranope: 11.8, protanope: 9.7, tritanope: 8.7 },
    dark: { normal: 18.5, deuteranope: 10.5, protanope: 6.9, tritanope: 7.1 },
  }
  test.each(Object.entries(visions))('families differ for %s eyes', (eyes, matrix) => {
    const fills = families_of_work.map((family) => families[family][scheme].fill)
    const pairs = fills.flatMap((one, at) => fills.slice(at + 1).map((other) => distance(one, other, matrix)))
    expect(Math.min(...pairs)).toBeGreaterThanOrEqual(least[scheme][eyes as keyof (typeof least)['light']] - 0.05)
  })
})

test('states of a family differ in fill or icon', () => {
  const seen = Object.values(looks).map(({ family, fill, icon }) => `${family} ${fill} ${icon}`)
  expect(new Set(seen).size).toBe(seen.length)
})

test('a mask has no character that opens a tag', () => {
  for (const name of Object.keys(icons) as (keyof typeof icons)[]) expect(mask(name)).not.toContain('<')
})
